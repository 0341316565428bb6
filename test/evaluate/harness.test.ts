// Against a stand-in that writes what lm_eval 0.4 writes.
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { measureByHarness } from "../../merge-core/evaluate/harness.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const STAND_IN = `#!${process.execPath}
const { mkdirSync, writeFileSync } = require("node:fs");
const args = process.argv.slice(2);
const value = (name) => args[args.indexOf(name) + 1];
if (value("--tasks") === "broken") { console.error("task not found"); process.exit(1); }
if (value("--tasks") !== "silent") {
  const folder = value("--output_path") + "/model__name";
  mkdirSync(folder, { recursive: true });
  const model = value("--model_args").replace("pretrained=", "").length;
  const results = { arc_easy: { alias: "arc_easy", "acc,none": model / 1000, "acc_stderr,none": NaN, "acc_norm,none": Number(value("--limit") ?? 1) } };
  writeFileSync(folder + "/results_2026-01-01T00-00-00.json", JSON.stringify({ results, versions: {} }).replace("null", "NaN"));
}
`;

describe("the evaluation harness", () => {
  const folder = temporaryFolder();
  const path = process.env.PATH;
  before(() => {
    writeFileSync(join(folder, "lm_eval"), STAND_IN);
    chmodSync(join(folder, "lm_eval"), 0o755);
    process.env.PATH = `${folder}${delimiter}${path}`;
  });
  after(() => {
    process.env.PATH = path;
  });
  const request = { task: "arc_easy", measure: "acc,none", args: ["--limit", "7"], timeoutSeconds: 30 };

  it("is run on the model, and its JSON is read", async () => {
    assert.equal(await measureByHarness(request, "/model"), 0.006);
    assert.equal(await measureByHarness({ ...request, measure: "acc_norm" }, "/model"), 7);
  });

  it("is reported when it fails, writes nothing, or lacks the measure", async () => {
    assert.deepEqual((await rejectsWith("evaluator-failed", () => measureByHarness({ ...request, task: "broken" }, "/m"))).notes, ["task not found"]);
    await rejectsWith("harness-no-results", () => measureByHarness({ ...request, task: "silent" }, "/m"));
    assert.match((await rejectsWith("harness-no-measure", () => measureByHarness({ ...request, measure: "acc,non" }, "/m"))).remedy ?? "", /acc,none/);
    process.env.PATH = path;
    assert.match((await rejectsWith("evaluator-missing", () => measureByHarness(request, "/m"))).remedy ?? "", /pip install lm-eval/);
  });
});
