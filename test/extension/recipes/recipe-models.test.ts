import assert from "node:assert/strict";
import { modelPath, referencesIn, referenceTo } from "../../../extension/recipes/recipe-models.ts";

describe("models of a recipe", () => {
  it("are named relative to the recipe when they are near, and read back as the same path", () => {
    for (const [path, reference] of [
      ["/w/models/a", "./models/a"],
      ["/w", "/w"],
      ["/x/a", "../x/a"],
      ["/w/../x", "../x"],
    ] as const)
      assert.equal(referenceTo("/w", path), reference);
    assert.equal(referenceTo("/a/b/c/d", "/models/x"), "/models/x");
    assert.equal(modelPath("/w", referenceTo("/w", "/x/a")), "/x/a");
  });

  it("are no paths when they ask for an adapter or a revision", () => {
    assert.equal(modelPath("/w", "a+b"), undefined);
    assert.equal(modelPath("/w", "a@main"), undefined);
  });

  it("are found in a text that is not whole yet", () => {
    assert.deepEqual(referencesIn('base_model: ./base # the base\nmodels:\n  - model: "x y"\n  - model:\n'), ["./base", "x y"]);
  });
});
