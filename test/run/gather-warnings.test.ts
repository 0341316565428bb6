import assert from "node:assert/strict";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { gatherWarnings } from "../../merge-core/run/gather-warnings.ts";

const warning = (code: string, tensor: string, found?: string): Diagnostic => ({
  code,
  severity: "warning",
  message: `${tensor} is ${code}`,
  ...(found === undefined ? {} : { found }),
});

describe("warnings of single tensors", () => {
  it("are told one by one while they are few", () => {
    const noted = ["a", "b", "c"].map((tensor) => ({ tensor, warnings: [warning("odd", tensor)] }));
    assert.deepEqual(
      gatherWarnings(noted),
      noted.flatMap(({ warnings }) => warnings),
    );
  });

  it("are told once with a list of the tensors where they are many, each kind by itself", () => {
    const noted = ["a", "b", "c", "d"].map((tensor, i) => ({
      tensor,
      warnings: [warning("odd", tensor, `${i} of 4`), ...(i === 2 ? [warning("rare", tensor)] : [])],
    }));
    assert.deepEqual(gatherWarnings(noted), [
      { code: "odd", severity: "warning", message: "a is odd, and so for 3 more tensors", notes: ["a: 0 of 4", "b: 1 of 4", "c: 2 of 4", "d: 3 of 4"] },
      warning("rare", "c"),
    ]);
  });
});
