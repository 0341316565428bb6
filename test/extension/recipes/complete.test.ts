import assert from "node:assert/strict";
import { type Completion, completeRecipe, filterWords, type RecipeFacts } from "../../../extension/recipes/complete.ts";
import { methods } from "../../../merge-core/methods/registry.ts";

const FACTS: RecipeFacts = { models: [{ reference: "./base", detail: "base" }], filters: ["self_attn", "mlp"] };

function complete(text: string): Completion {
  return completeRecipe(text.replace("|", ""), text.indexOf("|"), FACTS);
}
const labels = (text: string) => complete(text).proposals.map(({ label }) => label);

describe("completion of recipes", () => {
  it("offers every method, with formula and paper", () => {
    const { proposals } = complete("merge_method: |");
    assert.deepEqual(
      proposals.map(({ label }) => label),
      methods.map(({ id }) => id),
    );
    const ties = proposals.find(({ label }) => label === "ties");
    assert.match(ties?.documentation ?? "", /top_density[\s\S]*arxiv\.org\/abs\/2306\.01708/);
  });

  it("offers the keys of each level", () => {
    assert.ok(labels("|").includes("base_model"));
    assert.deepEqual(labels("models:\n  - |"), ["model", "fisher", "gram", "parameters"]);
    assert.deepEqual(labels("slices:\n  - sources:\n      - |"), ["model", "layer_range", "fisher", "gram", "parameters"]);
  });

  it("offers only parameters of the chosen method, and for one model only those it may have", () => {
    assert.deepEqual(labels("merge_method: ties\nmodels:\n  - model: a\n    parameters:\n      |"), ["weight", "density"]);
    assert.ok(labels("merge_method: ties\nparameters:\n  |").includes("normalize"));
    assert.ok(!labels("merge_method: slerp\nparameters:\n  |").includes("density"));
  });

  it("offers models where a model is named, and nowhere else", () => {
    for (const text of ["base_model: |", "models:\n  - model: |", "slices:\n  - sources:\n      - model: ./b|"])
      assert.deepEqual(labels(text), ["./base"], text);
    assert.ok(!labels("dtype: |").includes("./base"));
  });

  it("offers tensor names for filters, types for dtype, true and false for flags", () => {
    assert.deepEqual(labels("merge_method: slerp\nparameters:\n  t:\n    - filter: |"), ["self_attn", "mlp"]);
    assert.ok(labels("dtype: |").includes("bfloat16"));
    assert.deepEqual(labels("merge_method: ties\nparameters:\n  normalize: |"), ["true", "false"]);
  });

  it("replaces what is typed", () => {
    assert.equal(complete("merge_method: tie|").start, 14);
    assert.equal(complete("base_model: ./b|").start, 12);
  });

  it("starts lists and maps on the next line, where the parser wants them", () => {
    const text = "merge_method: linear\n";
    const models = complete(`${text}|`).proposals.find(({ label }) => label === "models");
    assert.equal(models?.text, "models:\n  - ");
    const parameters = complete(`${text}models:\n  - |`).proposals.find(({ label }) => label === "parameters");
    assert.equal(parameters?.text, "parameters:\n      ");
  });

  it("finds the words of tensor names that filters use, frequent ones first", () => {
    const names = ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight", "lm_head.weight"];
    assert.deepEqual(filterWords(names), ["model", "layers", "mlp", "up_proj", "lm_head"]);
  });
});
