// KnOTS and PCB on what adapters change: beside numpy's dense formulas, beside recipes that name model+adapter, and by laws.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loraDelta } from "../../merge-core/adapters/lora.ts";
import { readPeftLora, writePeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { type CombineRequest, combineAdapters } from "../../merge-core/run/combine-adapters.ts";
import { mergeTensors } from "../../merge-core/run/merge-tensors.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { near } from "../helpers/near.ts";
import { folderHashes } from "../helpers/trees.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

interface Golden {
  readonly inputs: number;
  readonly outputs: number;
  readonly adapters: readonly { readonly rank: number; readonly scale: number; readonly weight: number; readonly a: number[]; readonly b: number[] }[];
  readonly cases: readonly {
    readonly method: "knots" | "pcb";
    readonly parameters: Readonly<Record<string, number>>;
    readonly merged: number[];
    readonly error: number;
    readonly rank3: number[];
  }[];
}
const ORACLES = "test/fixtures/oracles";
const golden = JSON.parse(readFileSync(`${ORACLES}/adapter-products/golden.json`, "utf8")) as Golden;
const Q = "model.layers.0.self_attn.q_proj";
const [LORA, RSLORA, LOHA, OFT] = [`${ORACLES}/peft/lora`, `${ORACLES}/peft/rslora`, `${ORACLES}/peft-families/loha`, `${ORACLES}/peft-families/oft`];

async function combined(adapters: readonly string[], changes: Partial<CombineRequest> = {}) {
  const out = join(temporaryFolder(), "out");
  return combineAdapters({ adapters, weights: adapters.map(() => 1), method: "knots", out, ...changes });
}

const deltaIn = async (folder: string, module = Q) => loraDelta((await readPeftLora(folder)).modules.get(module) as never);

interface Factors {
  readonly rank: number;
  readonly scale: number;
  readonly a: readonly number[];
  readonly b: readonly number[];
}

async function written(adapters: readonly Factors[], { inputs, outputs }: { inputs: number; outputs: number } = golden): Promise<string[]> {
  const folder = temporaryFolder();
  const write = async ({ rank, scale, a, b }: Factors, i: number) => {
    const factors = { r: rank, inFeatures: inputs, outFeatures: outputs, a: Float32Array.from(a), b: Float32Array.from(b), scale };
    const path = join(folder, String(i));
    await writePeftLora({ r: rank, alpha: scale * rank, dropout: 0, targetModules: ["q_proj"], baseModel: undefined, modules: new Map([[Q, factors]]) }, path);
    return path;
  };
  return Promise.all(adapters.map(write));
}

async function mergedBy(recipe: Readonly<Record<string, unknown>>) {
  const parsed = parseRecipe(JSON.stringify(recipe), "recipe.yml");
  assert.ok(parsed.recipe, JSON.stringify(parsed.diagnostics));
  const { plan, diagnostics } = await planMerge(parsed.recipe, modelOpener("recipe.yml"));
  assert.ok(plan, JSON.stringify(diagnostics));
  return mergeTensors(plan, { threads: 1 });
}

const distance = (x: ArrayLike<number>, y: ArrayLike<number>): number => Math.hypot(...Array.from(x, (value, i) => value - (y[i] as number)));

describe("KnOTS and PCB on adapters", () => {
  for (const { method, parameters, merged, error, rank3 } of golden.cases)
    it(`give what numpy gives: ${method} ${JSON.stringify(parameters)}`, async () => {
      const adapters = await written(golden.adapters);
      const weights = golden.adapters.map(({ weight }) => weight);
      const whole = await combined(adapters, { method, parameters, weights, ...(method === "pcb" ? { rank: 99 } : {}) });
      const size = distance(
        merged,
        merged.map(() => 0),
      );
      assert.ok(distance(await deltaIn(whole.out), merged) < 2e-5 * size, `${distance(await deltaIn(whole.out), merged) / size}`);
      assert.ok(Math.abs(whole.largestError - error) < 1e-5, `${whole.largestError} for ${error}`);
      // Of KnOTS nothing is lost in the ranks of its factors, of PCB the whole rank is needed.
      assert.equal(whole.modules[0]?.rank, method === "knots" ? 7 : 11);
      const { out } = await combined(adapters, { method, parameters, weights, rank: 3 });
      assert.ok(distance(await deltaIn(out), rank3) < 2e-5 * size, "rank 3");
    });

  for (const [method, parameters, weights] of [
    ["knots", { density: 0.4, alpha: 0.8 }, [0.7, -0.3]],
    ["pcb", { ratio: 0.3, variant: 2 }, [1.2, 0.5]],
  ] as const)
    it(`give what a recipe of model+adapter gives at full rank: ${method}`, async () => {
      const model = `${ORACLES}/llama-tiny`;
      const adapters = [LORA, RSLORA];
      const { out } = await combined(adapters, { method, parameters, weights, rank: 99 });
      const models = adapters.map((adapter, i) => ({ model: `./${model}+./${adapter}`, parameters: { weight: weights[i] } }));
      const recipe = await mergedBy({ merge_method: method, base_model: `./${model}`, dtype: "float32", parameters, models });
      const base = await readTensors(`${model}/model.safetensors`);
      for (const module of (await readPeftLora(RSLORA)).modules.keys()) {
        const before = valuesOf(base.get(`${module}.weight`));
        const merged = recipe.get(`${module}.weight`);
        assert.ok(merged !== undefined);
        const change = valuesOf(merged).map((x, i) => x - (before[i] as number));
        const ours = await deltaIn(out, module);
        // The recipe subtracts weights that float32 has rounded.
        const worst = ours.reduce((most, x, i) => Math.max(most, Math.abs(x - (change[i] as number))), 0);
        assert.ok(worst < 5e-6, `${module}: ${worst}`);
      }
    });

  it("take the inputs' side for the inputs' side also where layers are stored the other way round", async () => {
    const [model, adapter] = [`${ORACLES}/gpt2-tiny`, `${ORACLES}/peft/conv1d`];
    const [weights, parameters] = [[0.7, -0.3], { density: 0.3, alpha: 1 }] as const;
    const { out } = await combined([adapter, adapter], { weights, parameters });
    const models = weights.map((weight) => ({ model: `./${model}+./${adapter}`, parameters: { weight } }));
    const recipe = await mergedBy({ merge_method: "knots", base_model: `./${model}`, dtype: "float32", parameters, models });
    const base = await readTensors(`${model}/model.safetensors`);
    const stored = await readTensors(join(out, "adapter_model.safetensors"));
    for (const [key, a] of [...stored].filter(([name]) => name.endsWith("lora_A.weight"))) {
      const b = stored.get(key.replace("lora_A", "lora_B"));
      const [r = 0, inFeatures = 0] = a.shape;
      const outFeatures = b?.shape[0] ?? 0;
      const module = key.replace("base_model.model.", "").replace(".lora_A.weight", "");
      const name = [`${module}.weight`, `${module.replace("transformer.", "")}.weight`].find((known) => base.has(known)) ?? "";
      const [before, merged] = [valuesOf(base.get(name)), valuesOf(recipe.get(name) ?? assert.fail(name))];
      const ours = loraDelta({ r, inFeatures, outFeatures, a: valuesOf(a), b: valuesOf(b), scale: 1 });
      for (let o = 0; o < outFeatures; o++)
        for (let i = 0; i < inFeatures; i++) {
          const at = i * outFeatures + o;
          assert.ok(Math.abs((ours[o * inFeatures + i] as number) - ((merged[at] as number) - (before[at] as number))) < 5e-6, `${name} ${o} ${i}`);
        }
    }
  });

  it("leave one adapter as it is where nothing is dropped", async () => {
    for (const adapter of [LORA, LOHA]) {
      const whole = await combined([adapter], { parameters: { alpha: 1, density: 1 } });
      assert.ok(whole.largestError < 1e-6, `${whole.largestError}`);
    }
    // Of one adapter PCB drops the element of the lowest score, which is the smallest, whatever the share.
    const { out } = await combined([RSLORA], { method: "pcb", parameters: { ratio: 1, quantile: 0 }, rank: 99 });
    const [ours, own] = [await deltaIn(out), await deltaIn(RSLORA)];
    near([...ours], [...own], own.reduce((least, x) => Math.min(least, Math.abs(x)), 1) + 1e-5);
  });

  it("do not depend on the order of adapters, on threads, or on the memory that there is", async () => {
    const adapters = await written(golden.adapters);
    for (const method of ["knots", "pcb"] as const) {
      const parameters: Record<string, number> = method === "knots" ? { density: 0.5 } : { ratio: 0.5 };
      const forwards = await combined(adapters, { method, parameters, weights: [1, 2, 3], rank: 7, threads: 2 });
      const single = await combined(adapters, { method, parameters, weights: [1, 2, 3], rank: 7, threads: 1, memoryBytes: 80 * 2 ** 20 });
      const backwards = await combined([...adapters].reverse(), { method, parameters, weights: [3, 2, 1], rank: 7 });
      assert.equal(folderHashes(forwards.out)["adapter_model.safetensors"], folderHashes(single.out)["adapter_model.safetensors"]);
      near([...(await deltaIn(backwards.out))], [...(await deltaIn(forwards.out))], 1e-5);
    }
  });

  it("take rotations by what they make of the base, and tell the distance from the sum", async () => {
    const base = await openCheckpoint(`${ORACLES}/llama-tiny`);
    const sum = await deltaIn((await combined([LORA, OFT], { base, method: "exact" })).out);
    for (const [method, parameters] of [
      ["knots", { density: 0.5, alpha: 1 }],
      ["pcb", { ratio: 0.5 }],
    ] as const) {
      const { out, modules } = await combined([LORA, OFT], { base, method, parameters, rank: 16 });
      const told = modules.find(({ module }) => module === Q)?.relativeError ?? 0;
      const found =
        distance(await deltaIn(out), sum) /
        distance(
          sum,
          sum.map(() => 0),
        );
      assert.ok(told > 0.01 && Math.abs(told - found) < 1e-4, `${told} for ${found}`);
    }
    // Elected signs and all, density one without an election is the sum.
    const plain = await combined([LORA, OFT], { base, parameters: { density: 1, alpha: 1, elect: 0 } });
    assert.ok(plain.largestError < 1e-5, `${plain.largestError}`);
  });

  it("take adapters of zeros, and layers with one output, as recipes do", async () => {
    const zeros = { rank: 2, scale: 1, a: Array.from({ length: 28 }, (_, i) => i), b: Array.from({ length: 22 }, () => 0) };
    const { out, warnings } = await combined(await written([zeros, zeros]));
    assert.ok((await deltaIn(out)).every((x) => x === 0));
    assert.ok(warnings.some(({ code, found }) => code === "rank-deficient" && found === "0 of 4"));
    const single = [1, 3].map((x) => ({ rank: 1, scale: 1, a: [x, 2, 4], b: [2] }));
    const mean = await combined(await written(single, { inputs: 3, outputs: 1 }), { parameters: { alpha: 1 } });
    near([...(await deltaIn(mean.out))], [4, 4, 8], 1e-5);
  });

  it("refuse adapters that hold NaN, naming the module, as all methods that decompose do", async () => {
    const spoilt = golden.adapters.slice(0, 2).map((factors, k) => ({ ...factors, b: factors.b.map((x, i) => (k === 1 && i === 5 ? Number.NaN : x)) }));
    const adapters = await written(spoilt);
    for (const method of ["knots", "pcb", "svd", "ties_svd"] as const) {
      const out = join(temporaryFolder(), "out");
      const { message, file } = await rejectsWith("adapter-not-finite", () => combined(adapters, { method, rank: 2, out }));
      assert.ok(!existsSync(out) && !existsSync(`${out}.partial`));
      assert.match(message, /q_proj/);
      assert.equal(file, adapters[1]);
    }
  });

  it("refuse what they do not have", async () => {
    const unknown = await rejectsWith("unknown-parameter", () => combined([LORA], { parameters: { densty: 1 } }));
    assert.match(unknown.remedy ?? "", /did you mean density\?/);
    await rejectsWith("parameter-range", () => combined([LORA], { method: "pcb", parameters: { ratio: 2 } }));
    const { expected } = await rejectsWith("memory-budget", () => combined([LORA], { memoryBytes: 2 ** 20 }));
    assert.match(expected ?? "", /at least \d+ MiB/);
  });
});
