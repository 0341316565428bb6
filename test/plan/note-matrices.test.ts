// What plans say about methods on whole matrices.
import assert from "node:assert/strict";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const model = () =>
  writeModel([
    floatTensor("model.layers.0.input_layernorm.weight", [4], [1, 2, 3, 4]),
    floatTensor("model.layers.0.mlp.up_proj.weight", [64, 64], new Float32Array(4096)),
    floatTensor("scale", [1, 4], [1, 2, 3, 4]),
  ]);

async function planOf(method: string) {
  const [base, a, b] = [model(), model(), model()];
  const text = `merge_method: ${method}\nbase_model: ${base}\nmodels:\n${[a, b].map((path) => `  - { model: ${path}, parameters: { weight: 1 } }\n`).join("")}`;
  const { recipe } = parseRecipe(text, "recipe.yml");
  assert.ok(recipe);
  const { plan, diagnostics } = await planMerge(recipe, modelOpener("recipe.yml"));
  assert.ok(plan, JSON.stringify(diagnostics));
  return plan;
}

describe("plans of methods on whole matrices", () => {
  it("list the tensors that are averaged", async () => {
    const finding = (await planOf("iso_c")).findings.find(({ code }) => code === "not-matrices");
    assert.equal(finding?.severity, "warning");
    assert.deepEqual(finding.notes, ["model.layers.0.input_layernorm.weight, scale"]);
    assert.equal(
      (await planOf("task_arithmetic")).findings.some(({ code }) => code === "not-matrices"),
      false,
    );
  });

  it("add what the largest matrix needs to the memory", async () => {
    const [matrices, tiles] = [await planOf("tsv_m"), await planOf("task_arithmetic")];
    assert.ok(matrices.peakMemoryBytes >= tiles.peakMemoryBytes + 64 * 64 * 4 * 2);
  });
});
