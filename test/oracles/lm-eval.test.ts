// What the real lm-evaluation-harness wrote (lm_eval_results.py), read as it lay, and our own measures of the same questions beside its numbers.
import assert from "node:assert/strict";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { builtinMetric, openEvaluator } from "../../merge-core/evaluate/evaluators.ts";
import { measureByHarness } from "../../merge-core/evaluate/harness.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const FIXTURES = resolve("test/fixtures/oracles/lm-eval");
const results = (JSON.parse(readFileSync(join(FIXTURES, "results.json"), "utf8")) as { results: { zoo_choice: Record<string, number> } }).results.zoo_choice;
const { written_to: writtenTo } = JSON.parse(readFileSync(join(FIXTURES, "provenance.json"), "utf8")) as { written_to: string };

describe("the evaluation harness's own results", () => {
  const folder = temporaryFolder();
  const path = process.env.PATH;
  before(() => {
    // Puts the stored file where the real program put it below its --output_path.
    const program = `#!${process.execPath}
const { copyFileSync, mkdirSync } = require("node:fs");
const { dirname, join } = require("node:path");
const target = join(process.argv[process.argv.indexOf("--output_path") + 1], ${JSON.stringify(writtenTo)});
mkdirSync(dirname(target), { recursive: true });
copyFileSync(${JSON.stringify(join(FIXTURES, "results.json"))}, target);
`;
    writeFileSync(join(folder, "lm_eval"), program);
    chmodSync(join(folder, "lm_eval"), 0o755);
    process.env.PATH = `${folder}${delimiter}${path}`;
  });
  after(() => {
    process.env.PATH = path;
  });
  const request = { task: "zoo_choice", args: [], timeoutSeconds: 30 };

  it("are found and read, with and without the filter's name", async () => {
    assert.ok((results["acc,none"] ?? 1) < 1, "a number that says something");
    assert.equal(await measureByHarness({ ...request, measure: "acc,none" }, "/model"), results["acc,none"]);
    assert.equal(await measureByHarness({ ...request, measure: "acc_norm" }, "/model"), results["acc_norm,none"]);
  });

  it("name what there is where the measure is missing", async () => {
    const { found } = await rejectsWith("harness-no-measure", () => measureByHarness({ ...request, measure: "exact_match" }, "/model"));
    assert.match(found ?? "", /acc,none/);
  });

  it("are what our own choice by likelihood gives on the same questions and model", async () => {
    const data = [join(FIXTURES, "questions.jsonl")];
    const metrics = [builtinMetric("multiple_choice", data, { name: "acc" }), builtinMetric("multiple_choice_norm", data, { name: "acc_norm" })];
    const scores = await (await openEvaluator(metrics, { threads: 1 })).model("media/zoo/base");
    assert.deepEqual(scores, { acc: results["acc,none"], acc_norm: results["acc_norm,none"] });
  });
});
