import assert from "node:assert/strict";
import { type Place, placeAt } from "../../../extension/recipes/place.ts";

/** The place of the bar in a text. */
function at(text: string): Place | undefined {
  const offset = text.indexOf("|");
  return placeAt(text.replace("|", ""), offset);
}

describe("place in a recipe", () => {
  it("is a key at the top, with what is typed of it", () => {
    assert.deepEqual(at("merge_method: linear\nmod|"), { path: [], kind: "key", key: "", prefix: "mod", start: 21 });
  });

  it("is the value of the key before it", () => {
    assert.deepEqual(at("merge_method: tie|"), { path: [], kind: "value", key: "merge_method", prefix: "tie", start: 14 });
    assert.equal(at('base_model: "./a|"')?.prefix, "./a");
  });

  it("climbs lists by their dashes, indented or not", () => {
    for (const text of ["models:\n  - model: a\n    parameters:\n      wei|", "models:\n- model: a\n  parameters:\n    wei|"])
      assert.deepEqual(at(text)?.path, ["models", "[]", "parameters"], text);
    assert.deepEqual(at("models:\n  - |")?.path, ["models", "[]"]);
    assert.deepEqual(at("models:\n  - model: a\n  - model: |")?.path, ["models", "[]"]);
  });

  it("climbs lists of lists", () => {
    const text = "slices:\n  - sources:\n      - model: a\n        layer_range: [0, 2]\n      - model: |";
    assert.deepEqual(at(text)?.path, ["slices", "[]", "sources", "[]"]);
    assert.equal(at(text)?.key, "model");
  });

  it("does not take a finished neighbour for a parent", () => {
    assert.deepEqual(at("models:\n  - model: a\nparameters:\n  |")?.path, ["parameters"]);
    assert.deepEqual(at("parameters:\n  t:\n    - filter: mlp\n      value: |")?.path, ["parameters", "t", "[]"]);
  });

  it("reads braces on one line", () => {
    assert.deepEqual(at("models:\n  - model: a\n    parameters: {weight: 0.5, den|"), {
      path: ["models", "[]", "parameters"],
      kind: "key",
      key: "",
      prefix: "den",
      start: 51,
    });
  });

  it("is nowhere inside a comment, and skips comments and blank lines on the way up", () => {
    assert.equal(at("# merge_|"), undefined);
    assert.deepEqual(at("models:\n\n# one\n  - mo|")?.path, ["models", "[]"]);
  });
});
