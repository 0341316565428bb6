// The extensions of the recipe language: patterns, exclusion, other methods for some tensors. From text to plan.
import assert from "node:assert/strict";
import { join } from "node:path";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const NAMES = ["model.embed_tokens.weight", "model.layers.0.mlp.up.weight", "model.layers.1.mlp.up.weight", "model.layers.1.attn.q.weight", "lm_head.weight"];
const folder = temporaryFolder();
before(() => {
  for (const name of ["base", "a", "b"]) {
    const tensors = NAMES.map((tensor) => floatTensor(tensor, [2, 2], [1, 2, 3, 4]));
    writeModel(tensors, { folder: join(folder, name), config: { vocab_size: 2, tie_word_embeddings: false, torch_dtype: "float32" } });
  }
});

const TIES = `merge_method: ties
base_model: base
models:
  - model: a
    parameters: {weight: 0.6, density: 0.5}
  - model: b
    parameters: {weight: 0.4}
`;

const parse = (text: string) => parseRecipe(text, join(folder, "recipe.yml"));

/** Per tensor: the method, and what takes part. */
async function planned(text: string): Promise<Record<string, string>> {
  const { recipe, diagnostics } = parse(text);
  assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
  const { plan, diagnostics: findings } = await planMerge(recipe, modelOpener(recipe.file));
  assert.ok(plan, findings.map(formatDiagnostic).join("\n"));
  const rows = plan.jobs.map((job) => [
    job.name.replace(/^model\.|\.weight$/g, ""),
    job.kind === "copy"
      ? "copy"
      : `${job.method} ${job.inputs.map(({ model, parameters }) => `${model}${parameters.weight === undefined ? "" : ` ${parameters.weight}`}`).join(", ")}`,
  ]);
  return Object.fromEntries(rows);
}

/** Codes and places, lines and columns as users count them. */
const problems = (text: string): string[] =>
  parse(text).diagnostics.map(({ code, severity, range }) => `${severity} ${code} ${(range?.line ?? -1) + 1}:${(range?.column ?? -1) + 1}`);

describe("conditions", () => {
  it("choose by glob, by expression and with exceptions; plain text means what it always did", async () => {
    const weight = `weight:
      - {filter: "glob:*.layers.0.*", value: 0.1}
      - {regex: "layers\\\\.1\\\\.", exclude: attn, value: 0.2}
      - {filter: lm_head, value: 0.3}
      - {value: 0.4}`;
    assert.deepEqual(await planned(`merge_method: linear\nparameters:\n    ${weight}\nmodels:\n  - model: a\n`), {
      embed_tokens: "linear a 0.4",
      "layers.0.mlp.up": "linear a 0.1",
      "layers.1.mlp.up": "linear a 0.2",
      "layers.1.attn.q": "linear a 0.4",
      lm_head: "linear a 0.3",
    });
  });

  it("are refused where the pattern is none or there are two", () => {
    const linear = (condition: string) =>
      problems(`merge_method: linear\nmodels:\n  - model: a\n    parameters:\n      weight:\n        - ${condition}\n        - {value: 1}\n`);
    assert.deepEqual(linear('{filter: "re:(", value: 1}'), ["error tensor-pattern 6:20"]);
    assert.deepEqual(linear('{glob: "{a", value: 1}'), ["error tensor-pattern 6:18"]);
    assert.deepEqual(linear('{exclude: [a, "re:(a+)+"], value: 1}'), ["error tensor-pattern 6:25"]);
    assert.deepEqual(linear("{filter: a, regex: a, value: 1}"), ["error one-of-filters 6:23"]);
    assert.deepEqual(linear("{exclude: [], value: 1}"), ["error empty-list 6:21"]);
  });
});

describe("overrides", () => {
  it("give some tensors another method, other parameters or other models; the first that fits decides", async () => {
    const overrides = `overrides:
  - {filter: embed, merge_method: passthrough, models: [base]}
  - {glob: "*.mlp.*", exclude: layers.0, merge_method: linear, parameters: {weight: 2}}
  - {filter: attn, models: [b]}
  - {filter: mlp, parameters: {weight: 1}}
`;
    assert.deepEqual(await planned(TIES + overrides), {
      embed_tokens: "copy",
      "layers.0.mlp.up": "ties a 1, b 1, base 1",
      "layers.1.mlp.up": "linear a 2, b 2",
      "layers.1.attn.q": "ties b 0.4, base",
      lm_head: "ties a 0.6, b 0.4, base",
    });
  });

  it("bring in the base where only they need it", async () => {
    const text =
      "merge_method: linear\nbase_model: base\nparameters: {weight: 1}\nmodels:\n  - model: a\noverrides:\n  - {filter: mlp, merge_method: task_arithmetic}\n";
    const plan = await planned(text);
    assert.equal(plan.lm_head, "linear a 1");
    assert.equal(plan["layers.0.mlp.up"], "task_arithmetic a 1, base 1");
  });

  it("are told of where they apply to nothing", async () => {
    const { recipe } = parse(`${TIES}overrides:\n  - {filter: nothing}\n  - {filter: mlp}\n  - {filter: up, parameters: {weight: 1}}\n`);
    assert.ok(recipe);
    const { plan, diagnostics } = await planMerge(recipe, modelOpener(recipe.file));
    assert.ok(plan);
    assert.deepEqual(
      diagnostics.map(({ code, range }) => `${code} ${(range?.line ?? 0) + 1}`),
      ["override-unused 9", "override-unused 11"],
    );
  });

  it("are checked as recipes are", () => {
    const check = (override: string) => problems(`${TIES}overrides:\n  - ${override}\n`);
    assert.deepEqual(check("{filter: a, merge_method: tie}"), ["error unknown-method 9:31"]);
    assert.deepEqual(check("{filter: a, parameters: {wieght: 1}}"), ["error unknown-parameter 9:30"]);
    assert.deepEqual(check("{filter: a, parameters: {density: 2}}"), ["error parameter-range 9:39"]);
    assert.deepEqual(check("{filter: a, merge_method: slerp, models: [a]}"), ["error missing-parameter 9:31"]);
    assert.deepEqual(check("{filter: a, merge_method: slerp, parameters: {t: 0.5}}"), ["error model-count 9:5"]);
    assert.deepEqual(check("{filter: a, merge_method: passthrough}"), ["error model-count 9:5"]);
    assert.deepEqual(check("{filter: a, models: [c]}"), ["error model-count 9:5", "error override-model 9:26"]);
    assert.deepEqual(check("{filtre: a}"), ["error unknown-key 9:6"]);
    assert.deepEqual(check("[]"), ["error wrong-type 9:5"]);
    assert.deepEqual(problems(`${TIES}overrides: {}\n`), ["error wrong-type 8:12"]);
    assert.deepEqual(problems("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}]\noverrides: [{filter: a, merge_method: ties}]\n"), [
      "error missing-base 4:39",
    ]);
  });
});
