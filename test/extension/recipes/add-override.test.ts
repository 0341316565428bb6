// Edits are judged by what the recipe then means.
import assert from "node:assert/strict";
import { addOverride } from "../../../extension/recipes/add-override.ts";
import { parseRecipe } from "../../../merge-core/recipe/parse-recipe.ts";
import { takesPart, treatmentOf } from "../../../merge-core/recipe/treatment.ts";
import { patternsFor } from "../../../webviews/comparison/tensor-names.ts";
import type { RecipeChange } from "../../../webviews/protocol.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";

const RECIPE = `# my recipe
merge_method: ties
base_model: ./base   # where all began
models:
  - model: ./a
    parameters: { weight: 1 }
  - model: ./b
    parameters: { weight: 1 }
dtype: float32
`;

const edited = (text: string, change: RecipeChange): string => {
  const { offset, text: added } = addOverride(text, change);
  return text.slice(0, offset) + added + text.slice(offset);
};

function read(text: string) {
  const { recipe, diagnostics } = parseRecipe(text, "recipe.yml");
  assert.deepEqual(
    diagnostics.filter(({ severity }) => severity === "error"),
    [],
  );
  assert.ok(recipe);
  return recipe;
}

const IN_LAYER_3 = "model.layers.3.mlp.up_proj.weight";
const IN_LAYER_30 = "model.layers.30.mlp.up_proj.weight";
const change = { patterns: ["re:^model\\.layers\\.3\\."] };

describe("adding an override", () => {
  it("takes excluded tensors from the base alone, and leaves the rest", () => {
    const recipe = read(edited(RECIPE, change));
    const treatment = treatmentOf(recipe, IN_LAYER_3);
    assert.equal(treatment.method.id, "passthrough");
    const sources = recipe.modules[0]?.slices[0]?.sources ?? [];
    assert.deepEqual(
      sources.filter((source) => takesPart(treatment, source)).map(({ model }) => model.text),
      ["./base"],
    );
    assert.equal(treatmentOf(recipe, IN_LAYER_30).method.id, "ties");
  });

  it("uses another method", () => {
    assert.equal(treatmentOf(read(edited(RECIPE, { ...change, method: "linear" })), IN_LAYER_3).method.id, "linear");
  });

  it("goes before the overrides that are there, because the first decides", () => {
    for (const indent of ["", "  "]) {
      const text = `${RECIPE}overrides:\n${indent}# norms\n${indent}- filter: layers\n${indent}  merge_method: linear\n`;
      const after = edited(text, change);
      assert.equal(treatmentOf(read(after), IN_LAYER_3).method.id, "passthrough");
      assert.equal(treatmentOf(read(after), IN_LAYER_30).method.id, "linear");
    }
  });

  it("changes nothing else, comments included", () => {
    const after = edited(RECIPE, change);
    for (const line of RECIPE.split("\n")) assert.ok(after.includes(line), line);
  });

  it("keeps hostile names inside their quotes", () => {
    const recipe = read(edited(RECIPE, { patterns: ["re:^it's: #\\{x$"], method: "linear" }));
    assert.equal(recipe.overrides[0]?.filter, "re:^it's: #\\{x$");
  });

  it("says what it cannot edit", async () => {
    for (const text of ["- a\n- b\n", `${RECIPE}overrides: []\n`, `${RECIPE}---\n${RECIPE}`, "merge_method: linear\n"])
      rejectsWith("recipe-edit", () => addOverride(text, change));
  });
});

describe("patterns for chosen tensors", () => {
  const names = Array.from({ length: 200 }, (_, i) => [`model.layers.${i}.mlp.up.weight`, `model.layers.${i}.attn.q.weight`]).flat();
  const all = [...names, "lm_head.weight"];
  const fitting = (patterns: readonly string[]) => all.filter((name) => patterns.some((pattern) => new RegExp(pattern.slice(3), "u").test(name)));

  for (const [what, chosen] of [
    ["a whole layer", names.slice(2, 4)],
    ["one role of two layers", [names[2] ?? "", names[22] ?? ""]],
    ["every layer of a deep model", names],
    ["a tensor outside layers", ["lm_head.weight"]],
    ["whole layers and parts", [...names.slice(0, 4), names[6] ?? ""]],
  ] as const)
    it(`fit ${what}, no others, and are short enough`, () => {
      const patterns = patternsFor(chosen, all);
      assert.deepEqual(fitting(patterns).sort(), [...chosen].sort());
      const recipe = read(edited(RECIPE, { patterns, method: "linear" }));
      assert.equal(recipe.overrides.length, patterns.length);
      assert.ok(patterns.length <= 6, `${patterns.length} patterns`);
    });
});
