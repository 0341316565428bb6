import assert from "node:assert/strict";
import { formatDiagnostic, inputError, nearestName, WeightsmithError } from "../merge-core/diagnostics.ts";

describe("formatDiagnostic", () => {
  it("gives place, problem, values and remedy in one line, notes below", () => {
    const text = formatDiagnostic({
      code: "unknown-key",
      severity: "error",
      message: "unknown key",
      file: "a.yml",
      range: { line: 2, column: 4, endLine: 2, endColumn: 9, offset: 20, end: 25 },
      found: "wieght",
      expected: "a known key",
      remedy: "did you mean weight?",
      notes: ["inside parameters"],
    });
    assert.equal(text, "error[unknown-key] a.yml:3:5: unknown key; found wieght, expected a known key; did you mean weight?\n  note: inside parameters");
  });

  it("shows letters that steer a terminal as numbers", () => {
    const text = formatDiagnostic({ code: "c", severity: "error", message: "m", found: "\u001b]0;x\u0007\r\u009b", notes: ["a\tb\u0000"] });
    assert.equal(text, "error[c]: m; found \\x1b]0;x\\x07\\x0d\\x9b\n  note: a\tb\\x00");
  });

  it("leaves out what is not known", () => {
    assert.equal(formatDiagnostic({ code: "c", severity: "warning", message: "m" }), "warning[c]: m");
  });
});

describe("WeightsmithError", () => {
  it("carries the first diagnostic's code and means bad input unless told otherwise", () => {
    const error = inputError("missing-model", "model not found", { found: "x" });
    assert.ok(error instanceof WeightsmithError);
    assert.equal(error.code, "missing-model");
    assert.equal(error.exitCode, 2);
  });
});

describe("nearestName", () => {
  const names = ["linear", "slerp", "task_arithmetic", "ties"];
  it("finds transpositions, omissions and case slips", () => {
    assert.equal(nearestName("lienar", names), "linear");
    assert.equal(nearestName("Slerp", names), "slerp");
    assert.equal(nearestName("task_arithmatic", names), "task_arithmetic");
    assert.equal(nearestName("tie", names), "ties");
  });
  it("says nothing rather than guess", () => {
    assert.equal(nearestName("breadcrumbs", names), undefined);
    assert.equal(nearestName("xyz", names), undefined);
  });
});
