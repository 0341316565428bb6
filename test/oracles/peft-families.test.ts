// Adapters of every family as PEFT writes them, and the weights PEFT merges them to (peft_families.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deltaOf, trainedParameters } from "../../merge-core/adapters/family.ts";
import { moduleSettings, readAdapter } from "../../merge-core/adapters/read-adapter.ts";
import { readNumbers } from "../../merge-core/formats/read-numbers.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, type StoredTensor, valuesOf } from "./read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
const FOLDER = `${ORACLES}/peft-families`;
/** PEFT computes in float32 throughout. */
const TOLERANCE = 2e-6;

const { adapters } = JSON.parse(readFileSync(`${FOLDER}/provenance.json`, "utf8")) as {
  adapters: Record<string, { base: string; trainable: number }>;
};

describe("Adapters of every family, written by PEFT", () => {
  for (const [name, { base, trainable }] of Object.entries(adapters)) {
    it(`fold to the weights that PEFT merges, and leave the others: ${name}`, async () => {
      const [model, adapter] = [`${ORACLES}/${base}`, `${FOLDER}/${name}`];
      const golden = await readTensors(`${adapter}/merged.safetensors`);
      const before = await readTensors(`${model}/model.safetensors`);
      const ours = await folded(model, adapter);
      assert.ok(golden.size > 0);
      const changed = new Map([...golden].map(([tensor, value]) => [before.has(tensor) ? tensor : tensor.replace(/^transformer\./, ""), value]));
      assert.ok([...changed.keys()].every((tensor) => before.has(tensor)));
      for (const [tensor, { data }] of before) {
        const expected = changed.get(tensor);
        if (expected === undefined) assert.deepEqual(ours.get(tensor)?.data, data, tensor);
        else assertClose(valuesOf(ours.get(tensor)), valuesOf(expected), tensor);
      }
    });

    it(`has as many parameters as PEFT trains: ${name}`, async () => {
      const adapter = await readAdapter(`${FOLDER}/${name}`);
      const tensors = await readTensors(`${ORACLES}/${base}/model.safetensors`);
      let count = [...adapter.replacements.values()].reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0);
      for (const { name: shared, trained } of adapter.family.shared)
        if (trained) count += adapter.shared[shared]?.shape.reduce((product, n) => product * n, 1) ?? 0;
      for (const [module, entries] of adapter.modules) {
        const shape = (tensors.get(`${module}.weight`) ?? tensors.get(`${module.replace(/^transformer\./, "")}.weight`))?.shape ?? [];
        const [outFeatures = 0, inFeatures = 0] = adapter.config.fan_in_fan_out === true ? shape.toReversed() : shape;
        const held = Object.fromEntries(Object.entries(entries).map(([tensor, entry]) => [tensor, entry.shape]));
        count += trainedParameters(adapter.family, { inFeatures, outFeatures }, moduleSettings(adapter, module), held);
      }
      // Indices and what replaces the logits are not what was trained.
      if (name === "vblora-topk") assert.ok(count < trainable);
      else assert.equal(count, trainable);
    });

    it(`gives the same change by its factors, where it has them: ${name}`, async () => {
      const { family, modules, shared, ...adapter } = await readAdapter(`${FOLDER}/${name}`);
      const weights = await readTensors(`${ORACLES}/${base}/model.safetensors`);
      const files = new Set([...modules.values()].flatMap((entries) => Object.values(entries).map(({ file }) => file)));
      const stored = new Map((await Promise.all([...files].map(readTensors))).flatMap((tensors) => [...tensors]));
      for (const [path, entries] of modules) {
        const settings = moduleSettings({ family, ...adapter }, path);
        if (family.factors === undefined || settings.init_weights === "bat") continue;
        const [outFeatures = 0, inFeatures = 0] = weights.get(`${path}.weight`)?.shape ?? [];
        const read = ({ name: tensor, shape, dtype }: { name: string; shape: readonly number[]; dtype: StoredTensor["dtype"] }) => ({
          shape,
          values: readNumbers(dtype, stored.get(tensor)?.data ?? new Uint8Array()),
        });
        const tensors = Object.fromEntries(Object.entries({ ...shared, ...entries }).map(([tensor, entry]) => [tensor, read(entry)]));
        const module = { layer: { inFeatures, outFeatures }, settings, tensors };
        const { r, a, b, scale } = family.factors(module);
        assert.deepEqual([a.length, b.length], [r * inFeatures, outFeatures * r]);
        const product = Float64Array.from({ length: outFeatures * inFeatures }, (_, at) => {
          let sum = 0;
          for (let k = 0; k < r; k++) sum += (b[Math.floor(at / inFeatures) * r + k] ?? 0) * (a[k * inFeatures + (at % inFeatures)] ?? 0);
          return scale * sum;
        });
        assertClose(deltaOf(family, module), product, path);
      }
    });
  }
});

async function folded(model: string, adapter: string): Promise<Map<string, StoredTensor>> {
  const { recipe, diagnostics } = parseRecipe(
    `merge_method: passthrough\nmodels: [{model: {model: {path: ${model}}, lora: {path: ${adapter}}}}]\n`,
    "recipe.yml",
  );
  assert.ok(recipe, JSON.stringify(diagnostics));
  const { plan, diagnostics: problems } = await planMerge(recipe, modelOpener("recipe.yml"));
  assert.ok(plan, JSON.stringify(problems));
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, threads: 2 });
  return readTensors(join(out, "model.safetensors"));
}

function assertClose(ours: ArrayLike<number>, theirs: ArrayLike<number>, what: string): void {
  assert.equal(ours.length, theirs.length, what);
  for (let i = 0; i < ours.length; i++) {
    const [x, y] = [ours[i] ?? Number.NaN, theirs[i] ?? Number.NaN];
    assert.ok(Math.abs(x - y) <= TOLERANCE * Math.max(1, Math.abs(y)), `${what}[${i}]: ${x} and ${y}`);
  }
}
