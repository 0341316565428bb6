// What single families do beyond the laws that all obey, each against a computation of its own.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { float64, invertMatrices } from "../../merge-core/adapters/algebra/float64.ts";
import { allocateBudget } from "../../merge-core/adapters/families/adalora-budget.ts";
import { trainSides } from "../../merge-core/adapters/families/tensor-train.ts";
import { type AdapterModule, deltaOf, type ModuleTensor, type Settings } from "../../merge-core/adapters/family.ts";
import type { Part } from "../../merge-core/adapters/family-math.ts";
import type { LiveModule, Site, Start } from "../../merge-core/adapters/family-training.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { CASES, familyOf, INPUTS, OUTPUTS, startCase, testSource } from "../helpers/family-table.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

const named = (name: string) => CASES.find((c) => c.name === name) ?? assert.fail(name);
const near = (a: number, b: number, tolerance = 1e-6) => assert.ok(Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b)), `${a} and ${b}`);
const LAYER = { inFeatures: INPUTS, outFeatures: OUTPUTS };

describe("AdaLoRA's budget", () => {
  const {
    settings,
    total_step: total,
    kept,
  } = JSON.parse(readFileSync("test/fixtures/oracles/adalora-budget.json", "utf8")) as {
    settings: Settings;
    total_step: number;
    kept: number[][][];
  };
  const sines = (count: number, start: number, step: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(start + 0.37 * i + 0.11 * step));
  const SIZES = [
    ["lora_A", 20],
    ["lora_B", 24],
    ["lora_E", 4],
  ] as const;

  it("keeps the triplets that PEFT's allocator keeps, step by step", () => {
    const modules = [0, 1, 2].map((number): LiveModule & { gradients: Map<string, Float32Array> } => {
      const means = SIZES.flatMap(([name, size]) => ["importance", "uncertainty"].map((kind) => [`adalora_${kind}_${name.slice(5)}`, new Float32Array(size)]));
      const own = SIZES.map(([name, size]) => [name, new Float32Array(size)]);
      const gradients = new Map<string, Float32Array>();
      const tensors = { ...Object.fromEntries([...own, ...means]), adalora_kept: new Float32Array(4).fill(1) } as Record<string, Float32Array>;
      return { module: `m${number}`, kind: "m", settings, tensors, gradients, gradient: (name) => gradients.get(name) };
    });
    for (let step = 1; step <= total; step++) {
      for (const [number, { tensors, gradients }] of modules.entries())
        for (const [place, [name, size]] of SIZES.entries()) {
          tensors[name]?.set(sines(size, number + 0.5 * place, step));
          gradients.set(name, sines(size, 2 * number + 0.3 * place + 1, 3 * step));
        }
      allocateBudget(modules, step, total);
      const left = modules.map(({ tensors }) => Array.from(tensors.lora_E ?? [], (e) => (e === 0 ? 0 : 1)));
      assert.deepEqual(left, kept[step - 1], `step ${step}`);
    }
    assert.equal(
      kept
        .at(-1)
        ?.flat()
        .reduce((sum, keep) => sum + keep, 0),
      2 * 3,
    );
  });

  it("needs gradients, and steps to prune in", async () => {
    const bare: LiveModule = { module: "m", kind: "m", settings, tensors: {} };
    await rejectsWith("adapter-needs-gradients", () => allocateBudget([bare], 1, total));
    await rejectsWith("adapter-setting-invalid", () => allocateBudget([bare], 1, 7));
  });

  it("stores what is kept, and one triplet without effect where nothing is", () => {
    const { family, settings: all, modules } = startCase(named("AdaLoRA"));
    const random = testRandom(4);
    const filled = (start: Start, keep: readonly number[]): Start =>
      Object.fromEntries(
        Object.entries(start).map(([name, { shape, values }]) => {
          const at = (i: number) => (name === "lora_E" ? (keep[i] as number) * random() : random());
          return [name, { shape, values: name === "adalora_kept" ? Float32Array.from(keep) : Float32Array.from(values, (_, i) => at(i)) }];
        }),
      );
    for (const [keep, rank] of [
      [[1, 0, 1], 2],
      [[0, 0, 0], 1],
    ] as const) {
      const whole = filled(modules[0] ?? {}, keep);
      const stored = family.training?.stored?.(all, { layer: LAYER, tensors: whole }).tensors ?? {};
      assert.deepEqual(
        Object.values(stored).map(({ shape }) => shape),
        [
          [rank, INPUTS],
          [OUTPUTS, rank],
          [rank, 1],
        ],
      );
      const delta = (tensors: Start) => deltaOf(family, { layer: LAYER, settings: all, tensors });
      assert.deepEqual(delta(stored), delta(whole));
      const pattern = family.training?.fileConfig?.(all, [], { totalSteps: 9, modules: new Map([["a.q_proj", whole]]) });
      assert.deepEqual(pattern?.rank_pattern, { "a.q_proj.lora_E": rank === 1 ? [true, false, false] : [true, false, true] });
      assert.equal(pattern?.total_step, 9);
    }
  });
});

describe("Constrained OFT", () => {
  it("puts blocks that left the ball back onto it, and leaves the others", () => {
    const { family, settings } = startCase(named("OFT constrained"));
    const random = testRandom(7);
    // Three blocks of six entries: tiny, large, zero.
    const entries = Float32Array.from({ length: 18 }, (_, i) => (i < 6 ? 0.001 : i < 12 ? 1 : 0) * random());
    const before = entries.slice();
    family.training?.afterStep?.([{ module: "m", kind: "m", settings, tensors: { oft_R: entries } }], 1, 9);
    const radius = 0.5 / Math.sqrt(3);
    const norm = (x: Float32Array) => Math.sqrt(2 * x.reduce((sum, value) => sum + value ** 2, 0));
    assert.deepEqual(entries.subarray(0, 6), before.subarray(0, 6));
    near(norm(entries.subarray(6, 12)), radius);
    for (let i = 6; i < 12; i++) near((entries[i] as number) / (before[i] as number), radius / norm(before.subarray(6, 12)));
    assert.ok(entries.subarray(12).every((x) => x === 0));
  });
});

describe("SVFT's top_k", () => {
  /** The orthogonal factor of a square matrix by Newton's iteration, X <- (X + X^-T) / 2, which knows of no singular vectors. */
  function polar(weight: ArrayLike<number>, n: number): Float64Array {
    let x = Float64Array.from(weight);
    for (let round = 0; round < 60; round++) {
      const inverse = invertMatrices(x, n);
      x = x.map((value, at) => (value + (inverse[(at % n) * n + Math.floor(at / n)] as number)) / 2);
    }
    return x;
  }

  it("trains where the product of the singular vectors is largest: there the polar factor is", () => {
    const family = familyOf({ type: "x-weightsmith-svft" });
    const n = 6;
    const random = testRandom(12);
    const weight = Float32Array.from({ length: n * n }, random);
    const settings = { pattern: "top_k", off_diagonals: 1 };
    const layer = { inFeatures: n, outFeatures: n };
    const site: Site = { module: "m", kind: "m", index: 0, count: 1, layer, settings, weight, random: testSource(1), tasks: 1, place: 0, kinds: ["m"] };
    const places = family.training?.start(site).svft_places;
    // As many as three diagonals have: 6 + 5 + 5.
    assert.deepEqual(places?.shape, [2, 16]);
    const chosen = Array.from({ length: 16 }, (_, k) => (places?.values[k] ?? 0) * n + (places?.values[16 + k] ?? 0));
    const q = polar(weight, n);
    const best = [...q.keys()].sort((a, b) => (q[b] as number) - (q[a] as number)).slice(0, 16);
    assert.deepEqual(
      chosen.toSorted((a, b) => a - b),
      best.toSorted((a, b) => a - b),
    );
  });

  it("refuses patterns that there are not", async () => {
    await rejectsWith("adapter-setting-invalid", () => startCase({ ...named("SVFT top_k"), settings: { pattern: "topk" } }));
  });
});

describe("MoSA with one down for all experts", () => {
  it("stores down as it was trained, and the experts' share of up", () => {
    const { family, settings, modules } = startCase(named("MoSA shared down"));
    const random = testRandom(3);
    const start = modules[0] ?? {};
    const trained = (name: string) => ({ shape: start[name]?.shape ?? [], values: Float32Array.from(start[name]?.values ?? [], random) });
    const tensors = { ...start, mosa_down: trained("mosa_down"), mosa_up: trained("mosa_up") };
    const stored = family.training?.stored?.(settings, { layer: LAYER, tensors }).tensors;
    assert.deepEqual(Array.from(stored?.mosa_down?.values ?? []), Array.from(tensors.mosa_down.values));
    for (const [i, x] of tensors.mosa_up.values.entries()) near(stored?.mosa_up?.values[i] ?? Number.NaN, x / 4);
  });

  it("trains one expert's part of up, and all of down", () => {
    const { family, settings, modules, sites } = startCase(named("MoSA shared down"));
    const part: Part<ReturnType<typeof float64.constant>> = {
      layer: LAYER,
      settings,
      module: (sites[0] as Site).module,
      indices: {},
      tensors: Object.fromEntries(Object.entries(modules[0] ?? {}).map(([name, { values, shape }]) => [name, float64.constant(values, shape)])),
    };
    const ones = { ...part, tensors: { ...part.tensors, mosa_up: float64.constant(new Float64Array(OUTPUTS * 4).fill(1), [OUTPUTS, 4]) } };
    const y = float64.constant(
      Float64Array.from({ length: OUTPUTS }, (_, i) => i - 3),
      [1, OUTPUTS],
    );
    const draw = () => [0.3];
    const out = family.math?.forward?.(float64, ones, y, () => y, { draw }).values ?? new Float64Array(0);
    const owners = modules[0]?.mosa_up_owner?.values ?? [];
    const down = modules[0]?.mosa_down?.values ?? [];
    const inner = Array.from({ length: 4 }, (_, k) => {
      const x = y.values.reduce((sum, value, i) => sum + value * (down[k * OUTPUTS + i] as number), 0);
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    });
    for (let o = 0; o < OUTPUTS; o++)
      near(out[o] ?? 0, (y.values[o] as number) + 0.1 * inner.reduce((sum, h, k) => sum + (owners[o * 4 + k] === 1 ? h : 0), 0));
  });
});

describe("LoRETTA's adapters", () => {
  it("are a bottleneck whose matrices are sums over the trains' inner sides", () => {
    const { family, settings, sites } = startCase(named("LoRETTA adapters relu"));
    const random = testRandom(17);
    const shapes = family.shapes(LAYER, settings, {});
    const values = Object.fromEntries(Object.entries(shapes).map(([name, [count = 0]]) => [name, Float64Array.from({ length: count }, random)]));
    // Bottleneck 4 by 8 outputs in two cores, [1, 8, 3] and [3, 4, 1]: element e has the digits e / 4 and e % 4.
    assert.deepEqual(trainSides(4, OUTPUTS), [8, 4]);
    const element = (name: string, e: number) =>
      [0, 1, 2].reduce((sum, rho) => sum + (values[name]?.[Math.floor(e / 4) * 3 + rho] ?? 0) * (values[name]?.[24 + rho * 4 + (e % 4)] ?? 0), 0);
    const y = Float64Array.from({ length: OUTPUTS }, random);
    const hidden = Array.from({ length: 4 }, (_, k) =>
      Math.max(
        0,
        y.reduce((sum, value, o) => sum + value * element("loretta_down", k * OUTPUTS + o), values.loretta_down_bias?.[k] ?? 0),
      ),
    );
    const expected = y.map((value, o) => value + hidden.reduce((sum, h, k) => sum + h * element("loretta_up", o * 4 + k), values.loretta_up_bias?.[o] ?? 0));
    const tensors = Object.fromEntries(Object.entries(values).map(([name, own]) => [name, float64.constant(own, [own.length])]));
    const x = float64.constant(y, [1, OUTPUTS]);
    const part = { layer: LAYER, settings, module: (sites[0] as Site).module, indices: {}, tensors };
    const actual = family.math?.forward?.(float64, part, x, () => x, {}).values ?? [];
    assert.ok(hidden.some((h) => h === 0) && hidden.some((h) => h > 0));
    for (const [o, value] of expected.entries()) near(actual[o] ?? Number.NaN, value, 1e-12);
  });

  it("refuse an activation that there is not", async () => {
    await rejectsWith("adapter-setting-invalid", () => startCase({ ...named("LoRETTA adapters"), settings: { bottleneck: 4, activation: "gelu" } }));
  });
});

describe("LoNAS", () => {
  const { family, settings, modules, sites } = startCase(named("LoNAS"));
  const random = testRandom(31);
  const start = modules[0] ?? {};
  const tensors: Start = { ...start, lonas_B: { shape: [OUTPUTS, 3], values: Float32Array.from({ length: OUTPUTS * 3 }, random) } };
  const { weight } = sites[0] as Site;
  const rowSize = (o: number) => Array.from({ length: INPUTS }, (_, i) => Math.abs(weight[o * INPUTS + i] as number)).reduce((a, b) => a + b, 0);
  const byImportance = Array.from({ length: OUTPUTS }, (_, o) => o).sort((a, b) => rowSize(b) - rowSize(a));
  const stored = (chosen: Settings) => family.training?.stored?.({ ...settings, ...chosen }, { layer: LAYER, tensors }).tensors ?? {};
  const folded = (held: Readonly<Record<string, ModuleTensor>>, change: Settings = {}) => {
    const module: AdapterModule = { layer: LAYER, settings: { ...settings, ...change }, tensors: held };
    return deltaOf(family, module, weight).map((x, i) => x + (weight[i] as number));
  };

  it("keeps the outputs with the largest weights, zeroes the others and their biases, and cuts the rank", () => {
    const cut = stored({ elastic_width: 5, elastic_rank: 2 });
    const kept = Array.from(cut.lonas_kept?.values ?? []);
    assert.deepEqual(
      kept,
      byImportance.slice(0, 5).sort((a, b) => a - b),
    );
    assert.deepEqual(
      [cut.lonas_A?.shape, cut.lonas_B?.shape],
      [
        [2, INPUTS],
        [OUTPUTS, 2],
      ],
    );
    // Rank 2 of 3 at the scale of the whole.
    const actual = folded(cut, { r: 2, lora_alpha: (8 * 2) / 3 });
    for (const [at, value] of actual.entries()) {
      const [o, i] = [Math.floor(at / INPUTS), at % INPUTS];
      const change = [0, 1].reduce((sum, k) => sum + (tensors.lonas_B?.values[o * 3 + k] ?? 0) * (tensors.lonas_A?.values[k * INPUTS + i] ?? 0), 0);
      near(value, kept.includes(o) ? (weight[at] as number) + (8 / 3) * change : 0);
    }
    const factor = family.biasFactor?.({ layer: LAYER, settings, tensors: cut }) ?? [];
    assert.deepEqual(
      Array.from(factor),
      Array.from({ length: OUTPUTS }, (_, o) => (kept.includes(o) ? 1 : 0)),
    );
  });

  it("draws widths in training, of the kinds of modules that are elastic alone", () => {
    const parts = Object.entries(start).filter(([name]) => name !== "lonas_kept");
    const tensorsOf = Object.fromEntries(parts.map(([name, { values, shape }]) => [name, float64.constant(values, shape)]));
    const widthsOf = (module: string, u: number) => {
      const part = { layer: LAYER, settings, module, tensors: tensorsOf, indices: {} };
      const w = family.math?.weight?.(float64, part, float64.constant(weight, [OUTPUTS, INPUTS]), { draw: () => [u] }).values ?? new Float64Array(0);
      return Array.from({ length: OUTPUTS }, (_, o) => o).filter((o) => w.subarray(o * INPUTS, (o + 1) * INPUTS).some((x) => x !== 0));
    };
    const widths = [0, 0.4, 0.8].map((u) => widthsOf("model.layers.0.mlp.up_proj", u));
    // 1, 0.875 and 0.75 of 8.
    assert.deepEqual(
      widths.map((kept) => kept.length),
      [8, 7, 6],
    );
    assert.deepEqual(
      widths[2],
      byImportance.slice(0, 6).sort((a, b) => a - b),
    );
    assert.equal(widthsOf("model.layers.0.mlp.down_proj", 0.8).length, 8);
  });
});
