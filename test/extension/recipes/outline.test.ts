import assert from "node:assert/strict";
import { outlineRecipe } from "../../../extension/recipes/outline.ts";

describe("outline of a recipe", () => {
  it("lists method, base and sources with their places", () => {
    const text = "merge_method: ties\nbase_model: ./base\nmodels:\n  - model: ./a\n    parameters: {weight: 1}\n";
    const entries = outlineRecipe(text);
    assert.deepEqual(
      entries.map(({ name, detail }) => [name, detail]),
      [
        ["ties", "TIES"],
        ["./base", "base"],
        ["./a", ""],
      ],
    );
    assert.deepEqual(
      entries.map(({ range }) => range.line),
      [0, 1, 3],
    );
  });

  it("shows the layers of slices", () => {
    const text = "merge_method: passthrough\nslices:\n  - sources:\n      - model: ./a\n        layer_range: [2, 4]\n";
    assert.equal(outlineRecipe(text).at(-1)?.detail, "layers 2 to 3");
  });

  it("is empty while the recipe cannot be read", () => {
    assert.deepEqual(outlineRecipe("merge_method: [\n"), []);
  });
});
