// Elements taken in turns, on the pool and in plain TypeScript.
import assert from "node:assert/strict";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine, encodeOutput } from "../../merge-core/compute/reference.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { takeTurns } from "../../merge-core/compute/turns.ts";
import { randomWeights } from "../helpers/floats.ts";

describe("taking turns", () => {
  it("goes by magnitude within each block, ties to the first", () => {
    assert.deepEqual([...takeTurns([Float32Array.of(1, -3, 2, 0, 5, 5, 5, 1)], 4, 2)], [0, 1, 1, 0, 1, 1, 0, 0]);
  });

  it("takes of what is left, then of the rest", () => {
    const vectors = () => [Float32Array.of(4, 3, 2, 1), Float32Array.of(1, 9, 2, 8)];
    assert.deepEqual([...takeTurns(vectors(), 4, 2)], [0, 0, 1, 1]);
    assert.deepEqual([...takeTurns(vectors(), 4, 3)], [0, 1, 1, 1]);
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
