// Adapters averaged as what they are, and biases that adapters change: by formulas of the tests' own and by what PEFT merged.
import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readAdapter } from "../../merge-core/adapters/read-adapter.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { type CombineRequest, combineAdapters } from "../../merge-core/run/combine-adapters.ts";
import { mergeTensors } from "../../merge-core/run/merge-tensors.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor } from "../helpers/models.ts";
import { near } from "../helpers/near.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
const [OFT, EXACT, IA3, NORMS] = ["oft", "oft-exact", "ia3", "ln-tuning"].map((name) => `${ORACLES}/peft-families/${name}`) as [string, string, string, string];
const [LLAMA, QWEN] = [`${ORACLES}/llama-tiny`, `${ORACLES}/qwen2-tiny`];

const averaged = (adapters: readonly string[], changes: Partial<CombineRequest> = {}) =>
  combineAdapters({ adapters, weights: adapters.map(() => 1 / adapters.length), method: "average", out: join(temporaryFolder(), "out"), ...changes });

const tensorsOf = async (folder: string) =>
  new Map(
    [...(await readTensors(join(folder, "adapter_model.safetensors")))].map(([name, { shape, ...tensor }]) => [
      name,
      { shape, values: valuesOf({ shape, ...tensor }) },
    ]),
  );

/** The adapter with other values and settings. */
async function changed(
  adapter: string,
  change: (x: number, i: number) => number,
  { config = {}, keep = () => true }: { config?: Readonly<Record<string, unknown>>; keep?: (name: string) => boolean } = {},
): Promise<string> {
  const folder = join(temporaryFolder(), "adapter");
  cpSync(adapter, folder, { recursive: true });
  const tensors = [...(await tensorsOf(adapter))].filter(([name]) => keep(name));
  writeFileSync(
    join(folder, "adapter_model.safetensors"),
    encodeSafetensors(tensors.map(([name, { shape, values }]) => floatTensor(name, shape, values.map(change)))),
  );
  const file = join(folder, "adapter_config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...config }));
  return folder;
}

async function folded(model: string, adapter: string): Promise<Map<string, { readonly values: Float32Array; readonly shape: readonly number[] }>> {
  const { recipe } = parseRecipe(JSON.stringify({ merge_method: "passthrough", models: [{ model: `./${model}+${adapter}` }], dtype: "float32" }), "recipe.yml");
  assert.ok(recipe);
  const { plan, diagnostics } = await planMerge(recipe, modelOpener("recipe.yml"));
  assert.ok(plan, JSON.stringify(diagnostics));
  const merged = await mergeTensors(plan, { threads: 1 });
  return new Map([...merged].map(([name, { shape, ...tensor }]) => [name, { shape, values: valuesOf({ shape, ...tensor }) }]));
}

/** W of R in blocks of b: (I - Q)(I + Q)^-1 by the series I - 2 Q + 2 Q^2 - ..., which small Q allow. */
function rotated(weight: ArrayLike<number>, rows: number, generators: ArrayLike<number>, b: number): number[] {
  const columns = weight.length / rows;
  const count = (b * (b - 1)) / 2;
  const out = Array.from(weight);
  for (let block = 0; block < columns / b; block++) {
    const q = Array.from({ length: b }, () => new Array<number>(b).fill(0));
    let at = block * count;
    for (let i = 0; i < b; i++)
      for (let j = i + 1; j < b; j++) {
        (q[i] as number[])[j] = generators[at] as number;
        (q[j] as number[])[i] = -(generators[at++] as number);
      }
    const times = (x: number[][], y: number[][]) => x.map((row) => row.map((_, j) => row.reduce((sum, value, k) => sum + value * (y[k]?.[j] as number), 0)));
    let power: number[][] = q.map((row, i) => row.map((_, j) => (i === j ? 1 : 0)));
    const r = power.map((row) => [...row]);
    for (let n = 1; n < 60; n++) {
      power = times(power, q);
      for (let i = 0; i < b; i++) for (let j = 0; j < b; j++) (r[i] as number[])[j]! += 2 * (n % 2 === 0 ? 1 : -1) * (power[i]?.[j] as number);
    }
    for (let o = 0; o < rows; o++)
      for (let i = 0; i < b; i++) {
        let sum = 0;
        for (let j = 0; j < b; j++) sum += (r[i]?.[j] as number) * (weight[o * columns + block * b + j] as number);
        out[o * columns + block * b + i] = sum;
      }
  }
  return out;
}

describe("averages of adapters in their own family", () => {
  it("rotate by the mean of the generators: rotations still, without a base", async () => {
    // Small generators, for the test's series.
    const [a, b] = [await changed(EXACT, (x) => x / 8), await changed(EXACT, (_, i) => Math.sin(i) / 40)];
    const { out, type, averaged: modules } = await averaged([a, b], { weights: [0.75, 0.25] });
    assert.deepEqual([type, modules?.length], ["OFT", (await tensorsOf(a)).size]);
    const [x, y] = [await tensorsOf(a), await tensorsOf(b)];
    const base = await readTensors(`${LLAMA}/model.safetensors`);
    const result = await folded(LLAMA, out);
    for (const [name, { values, shape }] of x) {
      const mean = Array.from(values, (value, i) => 0.75 * value + 0.25 * (y.get(name)?.values[i] as number));
      const weight = `${name.replace("base_model.model.", "").replace(".oft_R.weight", "")}.weight`;
      const found = result.get(weight);
      const side = (1 + Math.sqrt(1 + 8 * (shape[1] as number))) / 2;
      const before = valuesOf(base.get(weight));
      near(found?.values ?? [], rotated(before, found?.shape[0] as number, mean, side), 2e-6, weight);
      // Rows keep their lengths.
      const length = (v: ArrayLike<number>) => Math.hypot(...Array.from(v).slice(0, found?.shape[1]));
      assert.ok(Math.abs(length(found?.values ?? []) / length(before) - 1) < 1e-5);
    }
  });

  it("are the adapter itself where there is one, or equal ones; and between a rotation and its inverse there is none", async () => {
    for (const adapter of [OFT, EXACT, IA3, NORMS])
      for (const set of [[adapter], [adapter, adapter]]) {
        const [ours, theirs] = [await tensorsOf((await averaged(set)).out), await tensorsOf(adapter)];
        assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
        for (const [name, { values }] of theirs) near(ours.get(name)?.values ?? [], values, 1e-7, name);
      }
    const { out } = await averaged([EXACT, await changed(EXACT, (x) => -x)]);
    for (const { values } of (await tensorsOf(out)).values()) assert.ok(values.every((x) => Math.abs(x) < 1e-9));
  });

  it("scale by the mean around one: an adapter without a module counts as one that leaves it", async () => {
    const name = [...(await tensorsOf(IA3)).keys()].find((key) => key.includes("k_proj")) ?? "";
    const other = await changed(IA3, (x) => x / 2, { keep: (key) => key !== name });
    const { out, warnings } = await averaged([IA3, other], { weights: [0.25, 0.75] });
    const [ours, first] = [await tensorsOf(out), await tensorsOf(IA3)];
    for (const [key, { values }] of first) {
      const expected = Array.from(values, (l) => (key === name ? 1 + 0.25 * (l - 1) : 0.25 * l + 0.75 * (l / 2)));
      near(ours.get(key)?.values ?? [], expected, 1e-6, key);
    }
    assert.ok(warnings.some(({ code }) => code === "adapter-modules-differ"));
    const config = JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"));
    assert.equal(config.target_modules.length, first.size);
    assert.deepEqual(Object.keys(config).sort(), Object.keys(JSON.parse(readFileSync(join(IA3, "adapter_config.json"), "utf8"))).sort());
    assert.ok(config.feedforward_modules.every((path: string) => path.endsWith("down_proj")) && config.feedforward_modules.length > 0);
  });

  it("of IA3 are sums where PEFT's linear is asked for: an adapter without a module counts as zeros", async () => {
    const name = [...(await tensorsOf(IA3)).keys()].find((key) => key.includes("v_proj")) ?? "";
    const other = await changed(IA3, (x) => x - 2, { keep: (key) => key !== name });
    const { out } = await averaged([IA3, other], { method: "linear", weights: [0.7, -0.4] });
    for (const [key, { values }] of await tensorsOf(IA3)) {
      const expected = Array.from(values, (l) => 0.7 * l - (key === name ? 0 : 0.4 * (l - 2)));
      near((await tensorsOf(out)).get(key)?.values ?? [], expected, 1e-6, key);
    }
  });

  it("refuse generators of unlike conventions or sizes, naming what differs and the way that is open", async () => {
    const { found, expected, remedy } = await rejectsWith("adapter-settings-differ", () => averaged([OFT, EXACT]));
    assert.deepEqual([found, /^use_cayley_neumann true/.test(expected ?? "")], ["use_cayley_neumann false", true]);
    assert.match(remedy ?? "", /--base/);
    const { remedy: way } = await rejectsWith("adapter-base-needed", () => averaged([OFT, OFT], { method: "exact" }));
    assert.match(way ?? "", /--method average/);
    await rejectsWith("adapter-family-unlike", () => averaged([OFT, `${ORACLES}/peft-families/hra`]));
  });
});

describe("biases that adapters change", () => {
  it("come out as PEFT merges them, beside the factors", async () => {
    const base = await openCheckpoint(QWEN);
    const { out, warnings } = await combineAdapters({ adapters: [IA3], weights: [1], method: "exact", base, out: join(temporaryFolder(), "out") });
    assert.ok(warnings.some(({ code }) => code === "adapter-bias-whole"));
    assert.equal(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8")).bias, "lora_only");
    const [result, golden] = [await folded(QWEN, out), await readTensors(`${IA3}/merged.safetensors`)];
    assert.ok([...golden.keys()].some((name) => name.endsWith("bias")));
    for (const [name, tensor] of golden) near(result.get(name)?.values ?? [], valuesOf(tensor), 2e-6, name);
  });

  it("add up by weight", async () => {
    const base = await openCheckpoint(QWEN);
    const half = await changed(IA3, (x) => x / 2);
    const request = { adapters: [IA3, half], weights: [0.5, -2], method: "exact" as const, base, out: join(temporaryFolder(), "out") };
    const { out } = await combineAdapters(request);
    const ours = await tensorsOf(out);
    const before = await readTensors(`${QWEN}/model.safetensors`);
    let biases = 0;
    for (const [name, { values }] of await tensorsOf(IA3)) {
      const path = name.replace("base_model.model.", "").replace(/\.ia3_l$/, "");
      const bias = before.get(`${path}.bias`);
      if (bias === undefined) continue;
      biases++;
      const expected = Array.from(valuesOf(bias), (b, o) => b + 0.5 * ((values[o] as number) - 1) * b - 2 * ((values[o] as number) / 2 - 1) * b);
      near(ours.get(`base_model.model.${path}.base_layer.bias`)?.values ?? [], expected, 1e-6, path);
    }
    assert.ok(biases > 0);
    assert.equal((await readAdapter(out)).modules.size, (await tensorsOf(IA3)).size);
  });
});
