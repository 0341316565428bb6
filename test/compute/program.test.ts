import assert from "node:assert/strict";
import { compileProgram } from "../../merge-core/compute/compile.ts";
import * as e from "../../merge-core/compute/expr.ts";
import { type ComputePool, createPool } from "../../merge-core/compute/pool.ts";
import { encodeOutput, evaluate, reduceArrays } from "../../merge-core/compute/reference.ts";
import { randomKey } from "../../merge-core/compute/rng.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import type { FloatDType } from "../../merge-core/formats/dtypes.ts";
import { randomBits, randomWeights, randomWords, SPECIALS } from "../helpers/floats.ts";

type Expr = e.Expr;

const x = e.input(0);
const y = e.input(1);
const z = e.input(2);

/** Specials against specials, then weights, then random bits. */
function hardInputs(size: number): Float32Array[] {
  return [0, 1, 2].map((input) => {
    const values = Float32Array.from([...randomWeights(size >> 1, 11 + input), ...randomBits(size - (size >> 1), 21 + input)]);
    const n = SPECIALS.length;
    for (let i = 0; i < Math.min(n * n, size); i++) values[i] = SPECIALS[input === 0 ? i % n : input === 1 ? Math.floor(i / n) : (i * 7) % n] as number;
    return values;
  });
}

describe("compiled formulas", () => {
  let pool: ComputePool;
  before(() => {
    pool = createPool({ threads: 1 });
  });
  after(() => pool.close());

  async function run(expr: Expr, inputs: readonly Float32Array[], types: readonly FloatDType[] = [], outType: FloatDType = "F32") {
    const size = inputs[0]?.length ?? 0;
    const encoded = inputs.map((values, i) => encodeOutput(types[i] ?? "F32", values));
    const task = { name: "t", shape: [size], seed: 42, memoryBytes: 1 << 24, output: { dtype: outType } };
    const engine = openTensorEngine(pool, { ...task, inputs: encoded.map((bytes, i) => ({ dtype: types[i] ?? "F32", bytes })) });
    const { bytes, nonFinite } = await engine.write(expr);
    engine.close();
    const env = { inputs: encoded.map((b, i) => widenToFloat32(types[i] ?? "F32", b)), size, key: randomKey(42, "t") };
    const expected = encodeOutput(outType, evaluate(expr, env));
    const actual = bytes as Uint8Array;
    const wrong = expected.findIndex((byte, i) => byte !== actual[i]);
    assert.equal(wrong, -1, `byte ${wrong} of ${JSON.stringify(expr)}`);
    assert.equal(nonFinite, widenToFloat32(outType, expected).filter((v) => !Number.isFinite(v)).length);
  }

  const formulas: Record<string, Expr> = {
    add: e.add(x, y),
    sub: e.sub(x, y),
    mul: e.mul(x, y),
    div: e.div(x, y),
    min: { op: "min", a: x, b: y },
    max: { op: "max", a: x, b: y },
    lt: e.compare("lt", x, y),
    le: e.compare("le", x, y),
    gt: e.compare("gt", x, y),
    ge: e.compare("ge", x, y),
    eq: e.compare("eq", x, y),
    neg: { op: "neg", a: x },
    abs: e.abs(x),
    sqrt: { op: "sqrt", a: x },
    select: e.select(x, y, z),
    "selections with a zero of either sign on either side": e.linear(
      [0, -0]
        .flatMap((zero) => [e.select(x, y, e.constant(zero)), e.select(e.compare("lt", x, z), e.constant(zero), y)])
        .map((term, i) => ({ weight: 0.3 * i, x: term })),
    ),
    "zero where it is chosen, of its own sign": e.select(e.compare("gt", x, y), e.constant(-0), e.constant(0)),
    "a selection between truths": e.select(e.select(x, e.compare("gt", y, z), e.compare("le", y, z)), x, e.constant(0)),
    "a selection between a truth and zero, as a number": e.mul(y, e.select(x, e.compare("gt", y, z), e.constant(0))),
    "a selection between a truth and a number": e.select(e.select(x, e.compare("gt", y, z), z), x, y),
    "constant on either side": e.sub(e.constant(0.1), e.mul(x, e.constant(3))),
    "linear of products": e.linear([
      { weight: 0.3, x: e.mul(x, y) },
      { weight: 1, x: z },
      { weight: -0.7, x: e.sub(y, z) },
      { weight: 0.2, x: e.constant(5) },
    ]),
    trim: e.trim(x, { threshold: 0.01, tieLimit: 900 }),
    "trim at infinity": e.trim(x, { threshold: Number.POSITIVE_INFINITY, tieLimit: 40 }),
    "trim to nothing": e.trim(x, { threshold: Number.NaN, tieLimit: 0 }),
    "trim to everything": e.trim(x, { threshold: 0, tieLimit: Number.POSITIVE_INFINITY }),
    "random mask": e.bernoulli(e.constant(0.3), { model: 2, purpose: 1 }),
    "random mask with probabilities that go on being used": e.add(e.abs(x), e.bernoulli(e.abs(x), { model: 0, purpose: 0 })),
    "two uses of one value": e.add(e.mul(x, y), e.div(e.mul(x, y), z)),
    constant: e.constant(0.1),
    "folded constants": e.add(x, e.div(e.constant(1), e.constant(3))),
    "empty sum": e.linear([]),
  };
  for (const bound of [0, -0, 0.01, -0.01, Number.POSITIVE_INFINITY, Number.NaN])
    for (const op of ["min", "max"] as const) {
      const c = e.constant(bound);
      const name = `${op} with ${Object.is(bound, -0) ? "-0" : bound}`;
      formulas[`${name}, of magnitudes too`] = e.add({ op, a: x, b: c }, e.mul({ op, a: e.abs(y), b: c }, { op, a: c, b: z }));
      formulas[`${name}, to the sign of zero`] = { op, a: c, b: x };
    }
  for (const [name, expr] of Object.entries(formulas)) it(`${name} has the oracle's bits`, () => run(expr, hardInputs(1100)));

  const types = ["BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2"] as const;
  for (const type of types) it(`${type} in and out`, () => run(e.add(x, e.mul(y, z)), hardInputs(1030), [type, type, type], type));
  it("inputs of several types", () => run(formulas["linear of products"] as Expr, hardInputs(1030), ["BF16", "F16", "F8_E5M2"], "F16"));

  const deltas = e.linear([
    { weight: 0.3, x: e.sub(y, x) },
    { weight: -1.5, x: e.sub(z, x) },
  ]);
  const sums: Record<string, Expr> = {
    "sum of one": e.scale(x, 0.3),
    "sum of three": e.linear([x, y, z].map((input, i) => ({ weight: 0.1 + i / 3, x: input }))),
    "sum of three, scaled": e.scale(e.linear([x, y, z].map((input, i) => ({ weight: 0.1 + i / 3, x: input }))), 0.7),
    "an input as it is": x,
    "base and deltas": e.add(x, deltas),
    "deltas and base": e.add(deltas, x),
    "sum of three, divided": e.div(e.linear([x, y, z].map((input, i) => ({ weight: 0.1 + i / 3, x: input }))), e.constant(1.3)),
    "base and divided, scaled deltas": e.add(x, e.scale(e.div(deltas, e.constant(1.7)), 0.6)),
    "base and scaled deltas": e.add(x, e.scale(deltas, 0.6)),
    "base and one delta": e.add(x, e.sub(y, x)),
  };
  for (const [name, expr] of Object.entries(sums)) {
    for (const [inType, outType] of [
      ["BF16", "BF16"],
      ["F16", "F16"],
      ["F32", "F32"],
      ["BF16", "F32"],
      ["F32", "F16"],
      ["F16", "BF16"],
    ] as const) {
      it(`${name}, ${inType} to ${outType}`, async () => {
        for (const size of [1, 7, 15, 1030]) await run(expr, hardInputs(size), [inType, inType, inType], outType);
      });
    }
  }

  it("computes equal subexpressions once, written twice or not", () => {
    const twice = e.add(e.mul(e.input(0), e.input(1)), e.abs(e.mul(e.input(0), e.input(1))));
    const { instructions } = compileProgram([{ kind: "store", x: twice, dtype: "F32" }], ["F32", "F32"], randomKey(0, ""));
    assert.equal(instructions.length, 6, "2 loads, mul, abs, add, store");
  });

  it("keeps few registers in a long chain", () => {
    let chain: Expr = x;
    for (let i = 0; i < 200; i++) chain = e.mul(e.add(chain, y), e.constant(1 + i));
    assert.ok(compileProgram([{ kind: "store", x: chain, dtype: "F32" }], ["F32", "F32"], randomKey(0, "")).registers <= 3);
  });

  it("agrees with the oracle on random formulas", async () => {
    const inputs = hardInputs(1500);
    const words = randomWords(5000, 77);
    let at = 0;
    const pick = (n: number): number => (words[at++ % words.length] as number) % n;
    const grow = (pool: Expr[]): Expr => {
      const any = (): Expr => pool[pick(pool.length)] as Expr;
      switch (pick(8)) {
        case 0:
          return e.add(any(), any());
        case 1:
          return e.mul(any(), any());
        case 2:
          return e.sub(any(), any());
        case 3:
          return e.select(any(), any(), any());
        case 4:
          return e.linear([1, 2, 3].slice(pick(3)).map((w) => ({ weight: w / 7, x: any() })));
        case 5:
          return e.trim(any(), { threshold: 0.005, tieLimit: pick(1500) });
        case 6:
          return e.mul(any(), e.bernoulli(e.constant(0.5), { model: pick(4), purpose: 0 }));
        default:
          return e.compare("ge", any(), any());
      }
    };
    for (let round = 0; round < 60; round++) {
      const grown: Expr[] = [x, y, z, e.constant(0.25)];
      for (let i = 0; i < 12; i++) grown.push(grow(grown));
      await run(grown.at(-1) as Expr, inputs);
    }
  });

  describe("of one shape", () => {
    /** Formulas that are alike but for a number, an operator, an input or what is equal to what. */
    const alike: Record<string, (c: number) => Expr> = {
      sums: (c) => e.add(e.mul(x, e.constant(c)), y),
      "sums of another input": (c) => e.add(e.mul(x, e.constant(c)), z),
      differences: (c) => e.sub(e.mul(x, e.constant(c)), y),
      extremes: (c) => ({ op: "max", a: e.mul(x, y), b: e.constant(c) }),
      "other extremes": (c) => ({ op: "min", a: e.mul(x, y), b: e.constant(c) }),
      "extremes of magnitudes": (c) => ({ op: "max", a: e.abs(x), b: e.constant(c) }),
      selections: (c) => e.select(e.compare("lt", x, y), z, e.constant(c)),
      "selections the other way": (c) => e.select(e.compare("lt", x, y), e.constant(c), z),
      "weighted sums": (c) => e.linear([x, y, z].map((input) => ({ weight: c, x: input }))),
      "sums of other weights": (c) => e.linear([x, y, z].map((input, i) => ({ weight: c + i / 4, x: input }))),
      "trims to other numbers of ties": (c) => e.add(e.trim(x, { threshold: c, tieLimit: 700 }), e.trim(y, { threshold: c, tieLimit: 300 })),
      "trims alike": (c) => e.add(e.trim(x, { threshold: c, tieLimit: 500 }), e.trim(y, { threshold: c, tieLimit: 500 })),
      draws: (c) => e.mul(x, e.bernoulli(e.abs(y), { model: Number.isFinite(c) ? Math.abs(c * 4) : 9, purpose: 0 })),
    };
    const numbers = [0.25, 0.5, 1, 0, -0, Number.NaN, Number.POSITIVE_INFINITY, -2, 0.75];

    it("have each their own results, in whatever order they come", async () => {
      for (const size of [900, 37])
        for (const outType of ["BF16", "F32"] as const)
          for (const c of numbers) for (const formula of Object.values(alike)) await run(formula(c), hardInputs(size), ["F32", outType, "BF16"], outType);
    });

    it("have each their own results after more formulas than are remembered", async () => {
      const long = (length: number): Expr => Array.from({ length }).reduce((sum: Expr) => e.add(e.abs(sum), y), x);
      for (let length = 0; length < 70; length++) await run(long(length), hardInputs(64));
      for (const length of [0, 1, 69]) await run(long(length), hardInputs(64));
    });

    const shapeOf = (expr: Expr, types: readonly FloatDType[] = ["F32", "F32", "F32"], dtype: FloatDType = "F32") =>
      compileProgram([{ kind: "store", x: expr, dtype }], types, randomKey(0, "")).shape;
    const sums = alike.sums as (c: number) => Expr;

    it("have the same code if only numbers differ", () => {
      assert.equal(shapeOf(sums(0.5)), shapeOf(sums(-3)));
      const trimmed = (threshold: number) => shapeOf(e.trim(x, { threshold, tieLimit: 10 * threshold }));
      assert.equal(trimmed(1), trimmed(2));
      const window = (low: number) => compileProgram([{ kind: "histogramWindow", x, low, width: 8, guess: low }], ["F32"], randomKey(low, "")).shape;
      assert.equal(window(4), window(12));
    });

    it("have other code if anything else does", () => {
      const shapes = [
        ...numbers.slice(2, 7).map((c) => shapeOf(sums(c))),
        ...Object.values(alike).map((formula) => shapeOf(formula(0.5))),
        shapeOf(sums(0.5), ["F32", "BF16", "F32"]),
        shapeOf(sums(0.5), ["F32", "F32", "F32"], "BF16"),
        shapeOf(e.trim(x, { threshold: 1, tieLimit: 5 })),
        shapeOf(e.trim(x, { threshold: Number.NaN, tieLimit: 5 })),
        ...["sum", "sumAbs"].map((op) => compileProgram([{ kind: "reduce", reduction: { op: op as "sum", x } }], ["F32"], randomKey(0, "")).shape),
        ...[0, 1].map((slot) => compileProgram([{ kind: "keep", x, slot }], ["F32"], randomKey(0, "")).shape),
        compileProgram(
          [
            { kind: "keep", x, slot: 0 },
            { kind: "histogramHigh", x },
          ],
          ["F32"],
          randomKey(0, ""),
        ).shape,
        compileProgram(
          [
            { kind: "histogramHigh", x },
            { kind: "keep", x, slot: 0 },
          ],
          ["F32"],
          randomKey(0, ""),
        ).shape,
      ];
      // A product with infinity is one with any other number.
      assert.equal(new Set(shapes).size, shapes.length - 2);
    });
  });

  it("refuses an input that is not there", () => {
    assert.throws(() => compileProgram([{ kind: "store", x: e.input(3), dtype: "F32" }], ["F32"], randomKey(0, "")), RangeError);
  });
});

describe("reductions", () => {
  const ops = ["sum", "sumAbs", "sumSquares", "maxAbs", "countNonZero"] as const;

  for (const threads of [1, 2, 3]) {
    it(`are the oracle's to the last bit with ${threads} threads, for any tile and tail`, async () => {
      const pool = createPool({ threads });
      for (const size of [1, 3, 4095, 4096, 4097, 50_003]) {
        const values = randomWeights(size, size);
        const others = randomWeights(size, size + 1);
        values[size >> 1] = 0;
        const inputs = [values, others].map((v) => ({ dtype: "F32" as const, bytes: new Uint8Array(v.buffer) }));
        for (const tileBytes of [1, 1 << 15, 1 << 17]) {
          const engine = openTensorEngine(pool, { name: "t", shape: [size], seed: 0, inputs, output: { dtype: "F32" }, memoryBytes: 1 << 24, tileBytes });
          const found = await engine.reduce([...ops.map((op) => ({ op, x })), { op: "dot", x, y }]);
          assert.deepEqual(
            found,
            [...ops.map((op) => reduceArrays(op, values, values)), reduceArrays("dot", values, others)],
            `size ${size} tile ${tileBytes}`,
          );
          engine.close();
        }
      }
      assert.equal(pool.arena.usedBytes, 0);
      await pool.close();
    });
  }

  it("are the oracle's where there are more sums than registers, of constants too", async () => {
    const size = 9000;
    const arrays = Array.from({ length: 7 }, (_, i) => randomWeights(size, 40 + i));
    const pairs = arrays.flatMap((_, i) => arrays.slice(i).map((_, k) => [i, i + k] as const));
    const pool = createPool({ threads: 1 });
    const inputs = arrays.map((v) => ({ dtype: "F32" as const, bytes: new Uint8Array(v.buffer) }));
    const engine = openTensorEngine(pool, { name: "t", shape: [size], seed: 0, inputs, output: { dtype: "F32" }, memoryBytes: 1 << 24 });
    const found = await engine.reduce([
      ...pairs.map(([i, j]) => ({ op: "dot", x: e.input(i), y: e.input(j) }) as const),
      { op: "sum", x: e.constant(0.1) },
      { op: "dot", x, y: e.constant(-3) },
      { op: "maxAbs", x: e.sub(x, y) },
    ]);
    const [first, second] = arrays as [Float32Array, Float32Array];
    const filled = (value: number): Float32Array => new Float32Array(size).fill(value);
    const difference = first.map((value, i) => value - (second[i] as number));
    assert.deepEqual(found, [
      ...pairs.map(([i, j]) => reduceArrays("dot", arrays[i] as Float32Array, arrays[j] as Float32Array)),
      reduceArrays("sum", filled(0.1), first),
      reduceArrays("dot", first, filled(-3)),
      reduceArrays("maxAbs", difference, first),
    ]);
    engine.close();
    await pool.close();
  });

  it("sum exactly where float64 is exact, and pass NaN and infinity on", () => {
    const ramp = Float32Array.from({ length: 10_000 }, (_, i) => i);
    assert.equal(reduceArrays("sum", ramp, ramp), 49_995_000);
    assert.equal(reduceArrays("maxAbs", Float32Array.of(1, -3, 2), ramp), 3);
    assert.ok(Number.isNaN(reduceArrays("maxAbs", Float32Array.of(1, Number.NaN, 2), ramp)));
    assert.equal(reduceArrays("countNonZero", Float32Array.of(1, 0, -0, Number.NaN), ramp), 2);
  });
});
