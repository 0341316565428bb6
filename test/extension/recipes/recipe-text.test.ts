import assert from "node:assert/strict";
import { isRecipe, newRecipeText } from "../../../extension/recipes/recipe-text.ts";
import { methods } from "../../../merge-core/methods/registry.ts";
import { parseRecipe } from "../../../merge-core/recipe/parse-recipe.ts";

describe("recipe documents", () => {
  it("are known by name, or as YAML by their merge_method", () => {
    assert.ok(isRecipe("/a/b.merge.yml", "plaintext", ""));
    assert.ok(isRecipe("/a/config.yaml", "yaml", "# mine\nmerge_method: ties\n"));
    assert.ok(!isRecipe("/a/config.yaml", "yaml", "jobs:\n  merge_method: ties\n"));
    assert.ok(!isRecipe("/a/notes.md", "markdown", "merge_method: ties\n"));
  });
});

describe("new recipes", () => {
  for (const method of methods)
    it(`of ${method.id} are free of problems`, () => {
      const count = Math.min(method.models.max, Math.max(2, method.models.min));
      const models = Array.from({ length: count }, (_, i) => `./model ${i} (a+b)`.replace(/ \(.*/, ""));
      const base = method.base === "required" || method.base === "one-of" ? "./base" : undefined;
      const text = newRecipeText({ method, base, models });
      const { recipe, diagnostics } = parseRecipe(text, "new.merge.yml");
      assert.deepEqual(diagnostics, [], text);
      const named = recipe?.modules.flatMap((m) => m.slices.flatMap((s) => s.sources.map(({ model }) => model.text))) ?? [];
      for (const model of models) assert.ok(named.includes(model), model);
      assert.equal(recipe?.base?.text, base);
    });

  it("quote what YAML would read as something else", () => {
    const method = methods[0];
    assert.ok(method);
    const text = newRecipeText({ method, base: undefined, models: ["yes", "- a: #1"] });
    assert.match(text, /model: "yes"[\s\S]*model: "- a: #1"/);
  });
});
