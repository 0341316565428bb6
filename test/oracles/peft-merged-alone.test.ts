// One adapter merged alone is itself, whatever its family: the LoRA that comes of it folds to the weights that PEFT merges (peft_families.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { combineAdapters } from "../../merge-core/run/combine-adapters.ts";
import { type MergedTensor, mergeTensors } from "../../merge-core/run/merge-tensors.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { near } from "../helpers/near.ts";
import { readTensors, valuesOf } from "./read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
const FOLDER = `${ORACLES}/peft-families`;
const { adapters } = JSON.parse(readFileSync(`${FOLDER}/provenance.json`, "utf8")) as { adapters: Record<string, { base: string }> };

async function folded(model: string, adapter: string): Promise<Map<string, MergedTensor>> {
  const { recipe } = parseRecipe(JSON.stringify({ merge_method: "passthrough", models: [{ model: `./${model}+${adapter}` }] }), "recipe.yml");
  assert.ok(recipe);
  const { plan, diagnostics } = await planMerge(recipe, modelOpener("recipe.yml"));
  assert.ok(plan, JSON.stringify(diagnostics));
  return mergeTensors(plan, { threads: 1 });
}

describe("One adapter merged alone", () => {
  // Norms are replaced, not changed by a product: no LoRA does that.
  for (const [name, { base }] of Object.entries(adapters).filter(([family]) => family !== "ln-tuning"))
    it(`is itself: ${name}`, async () => {
      const model = `${ORACLES}/${base}`;
      const request = { adapters: [`${FOLDER}/${name}`], weights: [1], method: "exact" as const, base: await openCheckpoint(model) };
      const { out, type, largestError } = await combineAdapters({ ...request, out: join(temporaryFolder(), "out") });
      assert.equal(type, "LORA");
      assert.ok(largestError < 1e-5, `${largestError}`);
      const [ours, golden, before] = [
        await folded(model, out),
        await readTensors(`${FOLDER}/${name}/merged.safetensors`),
        await readTensors(`${model}/model.safetensors`),
      ];
      const changed = new Map([...golden].map(([tensor, value]) => [before.has(tensor) ? tensor : tensor.replace(/^transformer\./, ""), value]));
      for (const [tensor, value] of before) near(valuesOf(ours.get(tensor)), valuesOf(changed.get(tensor) ?? value), changed.has(tensor) ? 5e-6 : 0, tensor);
      assert.ok(changed.size > 0);
    });
});
