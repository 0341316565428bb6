// Robust weight signatures, one-bit differences and averages of checkpoints: worked examples, a golden of independent formulas, laws.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { findMethod } from "../../merge-core/methods/registry.ts";
import { randomWeights } from "../helpers/floats.ts";
import { type ArrayMerge, arrayTask, mergeArrays } from "../helpers/merge-arrays.ts";
import { near } from "../helpers/near.ts";

const MLP = "model.layers.2.mlp.up_proj.weight";

type Values = readonly number[] | Float32Array;
const based = (base: Values, ...models: readonly { values: Values; parameters?: Record<string, number> }[]) => [{ values: base, isBase: true }, ...models];
const check = (id: string, models: Parameters<typeof arrayTask>[1], options: ArrayMerge = {}) => findMethod(id)?.check?.(arrayTask(id, models, options))?.code;

interface Golden {
  readonly shape: readonly number[];
  readonly models: readonly [number[], number[], number[], number[]];
  readonly rws: number[];
  readonly quantised: Record<string, number[]>;
  readonly one_bit: number[];
  readonly mwa: number[];
}
const golden = JSON.parse(readFileSync("test/fixtures/oracles/signatures/golden.json", "utf8")) as Golden;
const [base, clean, one, two] = golden.models;

describe("rws", () => {
  const corrupted = [
    { values: one, parameters: { weight: 1.5 } },
    { values: two, parameters: { weight: -0.5 } },
  ];

  it("of a worked example: what is not along the clean model's change", async () => {
    // a = (2, 0), v = (3, 4): the signature is (0, 4).
    assert.deepEqual([...(await mergeArrays("rws", based([1, 1], { values: [3, 1] }, { values: [4, 5] })))], [3, 5]);
  });

  it("agrees with the released formula, plain and in levels of each kind", async () => {
    const models = based(base, { values: clean }, ...corrupted);
    near(await mergeArrays("rws", models), golden.rws, 1e-6);
    for (const [quantizer, expected] of Object.entries(golden.quantised))
      near(await mergeArrays("rws", models, { parameters: { levels: 8, quantizer: Number(quantizer) } }), expected, 3e-6, `quantizer ${quantizer}`);
  });

  it("added and taken away leaves the clean model; alpha 0 too", async () => {
    const twice = based(base, { values: clean }, { values: one, parameters: { weight: 1 } }, { values: one, parameters: { weight: -1 } });
    near(await mergeArrays("rws", twice), clean, 1e-6);
    near(await mergeArrays("rws", based(base, { values: clean }, ...corrupted), { parameters: { alpha: 0 } }), clean, 0);
  });

  it("leaves deep layers, the norm and the head clean when it is to be shallow", async () => {
    const models = based(base, { values: clean }, ...corrupted);
    const merged = (name: string) => mergeArrays("rws", models, { name, parameters: { shallow: 2 } });
    for (const name of [MLP, "model.norm.weight", "lm_head.weight"]) near(await merged(name), clean, 0, name);
    for (const name of ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"]) near(await merged(name), golden.rws, 1e-6, name);
  });

  it("in two levels has plus and minus the largest magnitude, and in logarithmic levels keeps zeros", async () => {
    const origin = [0, 0, 0, 0, 0];
    const models = based(origin, { values: [0, 0, 0, 0, 1] }, { values: [-1, 2, 0.25, 0, 5] });
    const at = (levels: number, quantizer: number) => mergeArrays("rws", models, { parameters: { levels, quantizer } });
    near((await at(2, 1)).subarray(0, 3), [-2, 2, 2], 0);
    // Magnitudes 0.25 to 2 in two levels of either sign: 1 is nearer to 2 by its logarithm.
    near((await at(4, 2)).subarray(0, 4), [-2, 2, 0.25, 0], 1e-6);
    assert.equal(check("rws", models, { parameters: { levels: 3, quantizer: 2 } }), "parameter-range");
    assert.equal(check("rws", models, { parameters: { levels: 3, quantizer: 1 } }), undefined);
  });

  it("of a clean model that did not change is the whole difference, and says so", async () => {
    const warnings: Omit<Diagnostic, "severity">[] = [];
    near(await mergeArrays("rws", based([1, 1], { values: [1, 1] }, { values: [4, 5] }), {}, warnings), [4, 5], 0);
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ["no-direction"],
    );
  });

  it("keeps NaN where it is, in levels too", async () => {
    const nan = based([0, 0, 0], { values: [1, 0, 0] }, { values: [0, Number.NaN, 1] });
    assert.ok((await mergeArrays("rws", nan)).some(Number.isNaN));
    assert.ok((await mergeArrays("rws", nan, { parameters: { levels: 4 } })).some(Number.isNaN));
  });
});

describe("one_bit", () => {
  const whole = { name: MLP, shape: [6, 8] };

  it("agrees with the formula, and its error is what the paper's scale leaves", async () => {
    const models = based(base, { values: clean, parameters: { compress: 3 } }, { values: one, parameters: { compress: 2 } });
    near(await mergeArrays("one_bit", models, whole), golden.one_bit, 1e-6);
    const delta = randomWeights(48, 3);
    const restored = await mergeArrays("one_bit", based(new Float32Array(48), { values: delta, parameters: { compress: 2 } }), whole);
    const squares = (values: ArrayLike<number>) => Array.from(values).reduce((sum, x) => sum + x * x, 0);
    const scale = delta.reduce((sum, x) => sum + Math.abs(x), 0) / 48;
    near([squares(delta.map((x, i) => x - (restored[i] ?? 0)))], [squares(delta) - 48 * scale * scale], 1e-9);
  });

  it("leaves what it is not told to compress as task arithmetic has it", async () => {
    const models = (compress: number) => based(base, { values: clean, parameters: { compress } }, { values: one, parameters: { compress, weight: 0.5 } });
    const plain = clean.map((x, i) => x + 0.5 * ((one[i] ?? 0) - (base[i] ?? 0)));
    for (const [name, shape, compress] of [
      [MLP, [6, 8], 1],
      [MLP, [6, 8], 0],
      ["model.layers.0.self_attn.q_proj.weight", [6, 8], 2],
      ["model.layers.0.self_attn.q_proj.bias", [48], 3],
      ["model.embed_tokens.weight", [6, 8], 3],
    ] as const)
      near(await mergeArrays("one_bit", models(compress), { name, shape }), plain, 2e-6, `${name} ${compress}`);
  });

  it("gives the base for a model that did not change, and NaN for one that holds NaN", async () => {
    const merged = (values: Values) => mergeArrays("one_bit", based([1, 2, 3, 4], { values, parameters: { compress: 3 } }), { name: MLP, shape: [2, 2] });
    near(await merged([1, 2, 3, 4]), [1, 2, 3, 4], 0);
    assert.ok((await merged([1, Number.NaN, 3, 4])).every(Number.isNaN));
  });

  it("must be told what to compress", () => {
    assert.ok(findMethod("one_bit")?.parameters.some(({ name, default: value }) => name === "compress" && value === undefined));
  });
});

describe("mwa", () => {
  const byLoss = (...losses: readonly number[]) => losses.map((loss, i) => ({ values: golden.models[i + 1] ?? [], parameters: { loss } }));
  /** Weights, seen by merging unit vectors. */
  const weights = async (parameters: Record<string, number>, ...models: readonly Record<string, number>[]) => [
    ...(await mergeArrays(
      "mwa",
      models.map((model, i) => ({ values: models.map((_, k) => (k === i ? 1 : 0)), parameters: model })),
      { parameters },
    )),
  ];

  it("agrees with the formula", async () => {
    near(await mergeArrays("mwa", byLoss(2, 1, 0.5), { parameters: { penalty: 1.5 } }), golden.mwa, 1e-6);
  });

  it("weighs by 1 / loss or by step, evenly at penalty 0, and picks the best at a large one", async () => {
    near(await weights({}, { loss: 1 }, { loss: 3 }), [0.75, 0.25], 1e-7);
    near(await weights({}, { step: 100 }, { step: 300 }), [0.25, 0.75], 1e-7);
    near(await weights({ penalty: 0 }, { loss: 1 }, { loss: 3 }), [0.5, 0.5], 0);
    near(await weights({ penalty: 5000 }, { loss: 1 }, { loss: 3 }), [1, 0], 0);
  });

  it("by softmax weighs z-scores, and evenly where all are alike", async () => {
    const e = Math.exp(1);
    near(await weights({ softmax: 1 }, { loss: 1 }, { loss: 3 }), [e / (e + 1 / e), 1 / e / (e + 1 / e)], 1e-7);
    near(await weights({ softmax: 1 }, { loss: 2 }, { loss: 2 }), [0.5, 0.5], 0);
    near(await weights({}, { loss: 2 }), [1], 0);
  });

  it("refuses models without the metric of the others", () => {
    const model = (parameters: Record<string, number>) => ({ values: [1], parameters });
    assert.equal(check("mwa", [model({ loss: 1 }), model({ step: 1 })]), "metrics-differ");
    assert.equal(check("mwa", [model({ loss: 1 }), model({})]), "metrics-differ");
    assert.equal(check("mwa", [model({ loss: 1, step: 2 }), model({ loss: 1, step: 2 })]), "metrics-differ");
    assert.equal(check("mwa", [model({ step: 1 }), model({ step: 2 })]), undefined);
  });
});
