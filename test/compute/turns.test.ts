// Elements taken in turns, on the pool and in plain TypeScript.
import assert from "node:assert/strict";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine, encodeOutput } from "../../merge-core/compute/reference.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { randomWeights } from "../helpers/floats.ts";

/** The mask of the last of the vectors, on the pool. */
async function turnOf(values: readonly (readonly number[])[], block: number, count: number): Promise<number[]> {
  const pool = createPool({ threads: 2 });
  const inputs = values.map((vector) => ({ dtype: "F32" as const, bytes: encodeOutput("F32", Float32Array.from(vector)) }));
  const shape = [values[0]?.length ?? 0];
  const engine = openTensorEngine(pool, { name: "w", shape, seed: 7, inputs, output: { dtype: "F32" }, memoryBytes: 1 << 24 });
  const vectors = values.map((_, i) => e.input(i));
  const mask = await engine.values({ op: "turns", vectors, at: vectors.length - 1, block, count });
  engine.close();
  await pool.close();
  return [...mask];
}

describe("taking turns", () => {
  it("goes by magnitude within each block, ties to the first", async () => {
    assert.deepEqual(await turnOf([[1, -3, 2, 0, 5, 5, 5, 1]], 4, 2), [0, 1, 1, 0, 1, 1, 0, 0]);
  });

  it("takes of what is left, then of the rest", async () => {
    const vectors = [
      [4, 3, 2, 1],
      [1, 9, 2, 8],
    ];
    assert.deepEqual(await turnOf(vectors, 4, 2), [0, 0, 1, 1]);
    assert.deepEqual(await turnOf(vectors, 4, 3), [0, 1, 1, 1]);
  });

  it("takes NaN first, infinity next, and zeros if nothing else is left", async () => {
    assert.deepEqual(await turnOf([[0, Number.NaN, -0, -Infinity, 2]], 5, 2), [0, 1, 0, 1, 0]);
    assert.deepEqual(await turnOf([[0, 0, -0, 3, 0, 0]], 6, 3), [1, 1, 0, 1, 0, 0]);
  });

  for (const block of [1, 7, 256, 5000])
    it(`is the same on the pool and plain, blocks of ${block}`, async () => {
      const size = 12345;
      const inputs = [1, 2, 3].map((seed) => randomWeights(size, seed));
      const vectors = [0, 1, 2].map((i) => e.input(i));
      const values = e.given(randomWeights(size, 9));
      const count = Math.ceil(block / 3);
      const expr = e.add(values, e.linear(vectors.map((x, at) => ({ weight: at + 1, x: e.mul(x, { op: "turns", vectors, at, block, count }) }))));
      const reference = createReferenceEngine({ name: "w", shape: [size], seed: 7, inputs });
      for (const memoryBytes of [1 << 24, 900_000]) {
        const pool = createPool({ threads: 2 });
        const places = inputs.map((input) => ({ dtype: "F32" as const, bytes: encodeOutput("F32", input) }));
        const engine = openTensorEngine(pool, { name: "w", shape: [size], seed: 7, inputs: places, output: { dtype: "F32" }, memoryBytes, tileBytes: 16384 });
        assert.deepEqual((await engine.write(expr)).bytes?.slice(), encodeOutput("F32", reference.write(expr)));
        engine.close();
        await pool.close();
      }
    });
});
