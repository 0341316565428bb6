import assert from "node:assert/strict";
import { type HoverFacts, hoverRecipe } from "../../../extension/recipes/hover.ts";

const FACTS: HoverFacts = { model: async (reference) => `headers of ${reference}`, layers: async () => 5 };
const RECIPE = `merge_method: slerp
base_model: ./a
models:
  - model: ./a
  - model: ./b
parameters:
  t:
    - filter: self_attn
      value: [0, 1]
    - value: 0.5
`;

const hover = (word: string) => hoverRecipe(RECIPE, RECIPE.indexOf(word) + 1, FACTS);

describe("hover in recipes", () => {
  it("shows a method's formula, parameters and paper", async () => {
    const found = await hover("slerp");
    assert.match(found?.text ?? "", /\*\*slerp\*\*[\s\S]*\| `t` \|/);
    assert.equal(RECIPE.slice(found?.start, found?.end), "slerp");
  });

  it("shows what a parameter comes to in each layer: a gradient from 0 to 1 over 5 layers goes up by quarters", async () => {
    const { text = "" } = (await hover("t:")) ?? {};
    assert.match(text, /names with `self_attn` \| 0: 0, 1: 0\.25, 2: 0\.5, 3: 0\.75, 4: 1 \|/);
    assert.match(text, /all tensors \| 0-4: 0\.5 \|/);
  });

  it("shows a flag as on or off in each layer", async () => {
    const recipe = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters:\n  weight: 1\n  normalize: [0, 1]\n";
    const { text = "" } = (await hoverRecipe(recipe, recipe.indexOf("normalize") + 1, FACTS)) ?? {};
    assert.match(text, /all tensors \| 0-3: 0, 4: 1 \|/);
  });

  it("shows a model's headers and a key's meaning, and nothing about other words", async () => {
    assert.equal((await hover("./b"))?.text, "headers of ./b");
    assert.match((await hover("base_model"))?.text ?? "", /fine-tuned from/);
    assert.equal(await hover("0.5"), undefined);
  });
});
