// Masks worked out by tile, and kept for the next pass: the engine on the pool against the plain one, which sorts every row.
import assert from "node:assert/strict";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine, encodeOutput } from "../../merge-core/compute/reference.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { randomWeights } from "../helpers/floats.ts";

/** Kinds of values that take different ways through the ranks. */
const KINDS: Readonly<Record<string, (x: number, i: number) => number>> = {
  "of any size": (x) => x,
  "with few significant bits": (x) => Math.round(x * 50) / 1024,
  "mostly zero": (x, i) => (i % 3 === 0 ? x : i % 2 === 0 ? 0 : -0),
  "all equal": () => 0.25,
  "with some far above the rest": (x, i) => (i % 300 === 7 ? x * 1e6 : x),
  "with infinities, NaN and subnormals": (x, i) => (i % 29 === 3 ? ([Number.NaN, Infinity, -Infinity, 1e-40, -3e-45][i % 5] as number) : x),
};

const drawOf = (x: e.Expr, model: number): e.Expr => {
  const keep = e.linear([
    { weight: 1, x: e.constant(0.35) },
    { weight: 0.3, x: e.rowRank(x) },
  ]);
  return e.bernoulli(keep, { model, purpose: 0 });
};

/** Sums and elements must be the same bits. Sums come first, so that the elements are made of what the first pass kept. */
async function assertSame(shape: readonly number[], inputs: readonly Float32Array[], x: e.Expr, memoryBytes = 1 << 24): Promise<void> {
  const reference = createReferenceEngine({ name: "w", shape, seed: 7, inputs });
  const [sums, values] = [await reference.reduce([{ op: "sumAbs", x }]), encodeOutput("F32", reference.write(x))];
  for (const threads of [1, 2]) {
    const pool = createPool({ threads });
    const places = inputs.map((input) => ({ dtype: "F32" as const, bytes: encodeOutput("F32", input) }));
    const engine = openTensorEngine(pool, { name: "w", shape, seed: 7, inputs: places, output: { dtype: "F32" }, memoryBytes });
    assert.deepEqual(await engine.reduce([{ op: "sumAbs", x }]), sums);
    assert.deepEqual((await engine.write(x)).bytes?.slice(), values);
    engine.close();
    assert.equal(pool.arena.usedBytes, 0);
    await pool.close();
  }
}

describe("draws by rank", () => {
  for (const [kind, change] of Object.entries(KINDS))
    it(`are those of sorted rows: values ${kind}`, async () => {
      for (const [rows, columns] of [
        [500, 1],
        [300, 3],
        [200, 16],
        [120, 33],
        [30, 700],
        [40, 2048],
        [3, 9001],
      ] as const) {
        const values = randomWeights(rows * columns, columns).map(change);
        const x = e.input(0);
        await assertSame([rows, columns], [values], e.add(drawOf(x, 2), e.scale(drawOf(x, 5), 2)));
      }
    });

  it("go with other draws, and with what memory allows", async () => {
    const [rows, columns] = [70, 1500];
    const inputs = [1, 2].map((seed) => randomWeights(rows * columns, seed));
    const delta = e.sub(e.input(1), e.input(0));
    const plain = e.bernoulli(e.constant(0.5), { model: 3, purpose: 0 });
    const x = e.linear([
      { weight: 0.5, x: e.select(drawOf(delta, 1), delta, e.constant(0)) },
      { weight: 0.25, x: e.select(plain, e.input(0), e.constant(0)) },
    ]);
    for (const memoryBytes of [1 << 24, 900_000]) await assertSame([rows, columns], inputs, x, memoryBytes);
  });

  it("are the same where rows fit no tile", async () => {
    const [rows, columns] = [128, 4099];
    const values = randomWeights(rows * columns, 1);
    await assertSame([rows, columns], [values], drawOf(e.input(0), 1));
  });

  it("keep all and nothing at the ends", async () => {
    const values = randomWeights(4096, 1);
    const keep = (low: number): e.Expr =>
      e.linear([
        { weight: 1, x: e.constant(low) },
        { weight: 0.5, x: e.rowRank(e.input(0)) },
      ]);
    const draw = (low: number): e.Expr => e.bernoulli(keep(low), { model: 1, purpose: 0 });
    await assertSame([2, 2048], [values], e.add(draw(1), e.scale(draw(-0.6), 2)));
  });
});

describe("turns by tile", () => {
  for (const block of [7, 100, 256])
    it(`are the same in many tiles, blocks of ${block}`, async () => {
      const size = 100_001;
      const inputs = [1, 2, 3].map((seed) => randomWeights(size, seed));
      const vectors = [0, 1, 2].map((i) => e.input(i));
      const turns = { vectors, block, count: Math.ceil(block / 3) };
      await assertSame([size], inputs, e.linear(vectors.map((x, at) => ({ weight: at + 1, x: e.mul(x, { op: "turns", at, ...turns }) }))));
    });
});
