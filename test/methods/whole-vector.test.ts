// Trimming over all tensors together, and election by count: runs of small models against sorting and counting by hand.
import assert from "node:assert/strict";
import { join } from "node:path";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { mergeArrays } from "../helpers/merge-arrays.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

/** Tensors of different sizes and scales, so that each alone and all together give different thresholds. */
const SHAPES = { "model.embed_tokens.weight": [40, 8], "model.layers.0.mlp.up.weight": [7, 8], "model.norm.weight": [8] };
const SCALES = [1, 4, 0.25];
const folder = temporaryFolder();
const names = Object.keys(SHAPES);
const sizeOf = (name: string): number => SHAPES[name as keyof typeof SHAPES].reduce((size, length) => size * length, 1);
const deltas = new Map<string, Float32Array>();

before(() => {
  for (const model of ["base", "a", "b"]) {
    const tensors = names.map((name, k) => {
      const values = uniforms(randomKey(1, `${model} ${name}`), { model: 0, purpose: 0 }, 0, sizeOf(name)).map((u) => (u - 0.5) * (SCALES[k] ?? 1));
      deltas.set(`${model} ${name}`, model === "base" ? new Float32Array(values.length) : values);
      return floatTensor(name, SHAPES[name as keyof typeof SHAPES], model === "base" ? new Float32Array(values.length) : values);
    });
    writeModel(tensors, { folder: join(folder, model), config: { vocab_size: 40, torch_dtype: "float32" } });
  }
});

async function run(method: string, parameters: string, threads = 1) {
  const text = `merge_method: ${method}\nbase_model: base\nmodels:\n  - {model: a, parameters: {weight: 1}}\nparameters: {${parameters}}\n`;
  const { recipe, diagnostics } = parseRecipe(text, join(folder, "recipe.yml"));
  assert.ok(recipe, JSON.stringify(diagnostics));
  const { plan } = await planMerge(recipe, modelOpener(recipe.file));
  assert.ok(plan);
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, threads });
  const tensors = await readTensors(join(out, "model.safetensors"));
  return { plan, values: new Map(names.map((name) => [name, valuesOf(tensors.get(name))])) };
}

/** The elements of all tensors between two places in the order of falling magnitude, the others zero. */
function trimmed(from: number, to: number): Map<string, Float32Array> {
  const all = names.flatMap((name) => [...(deltas.get(`a ${name}`) ?? [])].map((value, i) => ({ name, i, size: Math.abs(value), value })));
  all.sort((x, y) => y.size - x.size);
  const result = new Map(names.map((name) => [name, new Float32Array(sizeOf(name))]));
  for (const { name, i, value } of all.slice(from, to)) result.get(name)?.fill(value, i, i + 1);
  return result;
}

const total = names.reduce((sum, name) => sum + sizeOf(name), 0);
const kept = (density: number) => names.reduce((sum, name) => sum + Math.max(1, Math.floor(density * sizeOf(name))), 0);

describe("whole_vector", () => {
  it("keeps the largest elements of all tensors together, whatever the threads", async () => {
    for (const density of [0.03, 0.3, 0.9]) {
      const { values } = await run("ties", `density: ${density}, whole_vector: true, normalize: false`);
      assert.deepEqual(values, trimmed(0, kept(density)), `density ${density}`);
    }
    const [one, two] = [await run("ties", "density: 0.3, whole_vector: true"), await run("ties", "density: 0.3, whole_vector: true", 2)];
    assert.deepEqual(one.values, two.values);
    assert.notDeepEqual(one.values, (await run("ties", "density: 0.3")).values);
  });

  it("drops the outliers of all tensors together in breadcrumbs", async () => {
    const { values } = await run("breadcrumbs", "density: 0.5, gamma: 0.1, whole_vector: true");
    const outliers = names.reduce((sum, name) => sum + Math.floor(0.1 * sizeOf(name)), 0);
    const both = names.reduce((sum, name) => sum + Math.floor(0.5 * sizeOf(name)) + Math.floor(0.1 * sizeOf(name)), 0);
    assert.deepEqual(values, trimmed(outliers, both));
  });

  it("keeps everything at density 1, and says what it reads", async () => {
    const { plan, values } = await run("ties", "density: 1, whole_vector: true");
    assert.deepEqual(values, trimmed(0, total));
    assert.ok(plan.findings.every(({ code }) => code !== "model-statistics"));
    const thinned = (await run("ties", "density: 0.5, whole_vector: true")).plan;
    assert.ok(thinned.findings.some(({ code, message }) => code === "model-statistics" && message.startsWith("3 tensors are read 2 more times")));
    assert.equal(thinned.bytesToRead, 3 * plan.bytesToRead);
  });
});

describe("count_election", () => {
  it("gives each model one vote, whatever its weight", async () => {
    const model = (value: number) => ({ values: [value, 1, -2], parameters: { weight: 1 } });
    const models = [{ values: [0, 0, 0], isBase: true }, model(5), model(-1), model(-1)];
    const options = { parameters: { normalize: 0 } };
    assert.deepEqual([...(await mergeArrays("ties", models, options))], [5, 3, -6]);
    assert.deepEqual([...(await mergeArrays("ties", models, { parameters: { normalize: 0, count_election: 1 } }))], [-2, 3, -6]);
  });
});
