// Adapters written by PEFT, folded here and there (peft_goldens.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { foldLora } from "../../merge-core/adapters/lora.ts";
import { readPeftLora, writePeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, type StoredTensor, valuesOf } from "./read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
/** PEFT multiplies and adds in float32; here the product is float64 and the sum is rounded once. Weights are below 2. */
const FOLD_TOLERANCE = 5e-7;

const { bases } = JSON.parse(readFileSync(`${ORACLES}/peft/provenance.json`, "utf8")) as { bases: Record<string, string> };

describe("Adapters written by PEFT", () => {
  for (const name of ["lora", "rslora", "patterns", "layer-one"]) {
    it(`fold to the weights that PEFT merges: ${name}`, async () => {
      const folder = `${ORACLES}/peft/${name}`;
      const base = await readTensors(`${ORACLES}/${bases[name]}/model.safetensors`);
      const folded = foldLora(base, await readPeftLora(folder), folder);
      const golden = await readTensors(`${folder}/merged.safetensors`);
      const changed = [...folded].filter(([tensor, { data }]) => !Buffer.from(data).equals(base.get(tensor)?.data ?? Buffer.of()));
      assert.deepEqual(changed.map(([tensor]) => tensor).sort(), [...golden.keys()].sort());
      for (const [tensor, { shape }] of golden) {
        assert.deepEqual(folded.get(tensor)?.shape, shape);
        assert.ok(largestDifference(valuesOf(folded.get(tensor)), valuesOf(golden.get(tensor))) < FOLD_TOLERANCE, tensor);
      }
    });
  }

  for (const [name, base] of Object.entries(bases)) {
    it(`named with + in a recipe, give the weights that PEFT merges and leave the others: ${name}`, async () => {
      const [model, adapter] = [`${ORACLES}/${base}`, `${ORACLES}/peft/${name}`];
      const ours = await merged(`merge_method: passthrough\nmodels: [{model: {model: {path: ${model}}, lora: {path: ${adapter}}}}]\n`);
      const golden = await readTensors(`${adapter}/merged.safetensors`);
      const before = await readTensors(`${model}/model.safetensors`);
      assert.deepEqual([...ours.keys()].sort(), [...before.keys()].sort());
      const nameInBase = (tensor: string) => (before.has(tensor) ? tensor : tensor.replace(/^transformer\./, ""));
      const changed = new Map([...golden].map(([tensor, value]) => [nameInBase(tensor), value]));
      for (const [tensor, { data, shape }] of before) {
        const expected = changed.get(tensor);
        assert.deepEqual(ours.get(tensor)?.shape, shape);
        if (expected === undefined) assert.deepEqual(ours.get(tensor)?.data, data, tensor);
        else assert.ok(largestDifference(valuesOf(ours.get(tensor)), valuesOf(expected)) < FOLD_TOLERANCE, tensor);
      }
      assert.ok([...changed.keys()].every((tensor) => before.has(tensor)));
    });
  }

  it("come back the same after being written here", async () => {
    const adapter = await readPeftLora(`${ORACLES}/peft/lora`);
    const folder = temporaryFolder();
    await writePeftLora(adapter, folder);
    assert.deepEqual(await readPeftLora(folder), adapter);
    const [ours, theirs] = [await readTensors(`${folder}/adapter_model.safetensors`), await readTensors(`${ORACLES}/peft/lora/adapter_model.safetensors`)];
    assert.deepEqual(new Map([...ours].sort()), new Map([...theirs].sort()));
  });
});

async function merged(text: string): Promise<Map<string, StoredTensor>> {
  const { recipe, diagnostics } = parseRecipe(text, "recipe.yml");
  assert.ok(recipe, JSON.stringify(diagnostics));
  const { plan, diagnostics: problems } = await planMerge(recipe, modelOpener("recipe.yml"));
  assert.ok(plan, JSON.stringify(problems));
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, threads: 2 });
  return readTensors(join(out, "model.safetensors"));
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0);
}
