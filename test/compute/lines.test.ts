// Statistics of rows and columns on the pool: the same bits as in plain TypeScript, for any threads and memory.
import assert from "node:assert/strict";
import { type Expr, input, sub } from "../../merge-core/compute/expr.ts";
import { divergence, lineDots, pairsOf } from "../../merge-core/compute/lines.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine } from "../../merge-core/compute/reference.ts";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";

const noise = (seed: number, size: number) => uniforms(randomKey(seed, "lines"), { model: 0, purpose: 0 }, 0, size).map((u) => 4 * (u - 0.5));

describe("statistics of rows and columns", () => {
  it("are inner products of lines, worked out by hand", () => {
    const [a, b] = [Float32Array.of(1, 2, 3, 4, 5, 6), Float32Array.of(1, 0, -1, 2, 1, 0)];
    assert.deepEqual([...lineDots(a, b, 3, "row")], [-2, 13]);
    assert.deepEqual([...lineDots(a, b, 3, "column")], [9, 5, -3]);
    assert.deepEqual(pairsOf(3), [
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 1],
      [1, 2],
      [2, 2],
    ]);
  });

  it("are divergences of softmaxes, worked out by hand", () => {
    // Probabilities 1/2, 1/2 and 1/4, 3/4: ln 2 / 2 + ln(2/3) / 2.
    const found = divergence(Float32Array.of(5, 5), Float32Array.of(0, Math.log(3)));
    assert.ok(Math.abs(found - (Math.log(2) + Math.log(2 / 3)) / 2) < 1e-7, `${found}`);
    assert.equal(divergence(Float32Array.of(1, 2), Float32Array.of(1, 2)), 0);
  });

  for (const shape of [[7], [3, 5], [301, 97], [5, 9001], [2, 150, 64]])
    it(`have the same bits on one thread and on three, with much memory and little: ${shape.join(" x ")}`, async () => {
      const size = shape.reduce((a, b) => a * b, 1);
      const values = [1, 2, 3].map((seed) => noise(seed, size));
      const xs: Expr[] = [sub(input(1), input(0)), sub(input(2), input(0)), input(1)];
      const reference = createReferenceEngine({ name: "x", shape, seed: 0, inputs: values });
      const inputs = values.map((v) => ({ dtype: "F32" as const, bytes: new Uint8Array(v.buffer) }));
      for (const [threads, memoryBytes] of [
        [1, 2 ** 26],
        [3, 2 ** 26],
        [3, 2 ** 21],
      ] as const) {
        const pool = createPool({ threads });
        const engine = openTensorEngine(pool, { name: "x", shape, seed: 0, inputs, output: { dtype: "F32" }, memoryBytes, tileBytes: 16384 });
        for (const axis of ["row", "column"] as const) assert.deepEqual(await engine.lineProducts(xs, axis), await reference.lineProducts(xs, axis), axis);
        assert.deepEqual(await engine.rowDivergences(input(1), input(0)), await reference.rowDivergences(input(1), input(0)));
        engine.close();
        assert.equal(pool.arena.usedBytes, 0);
        await pool.close();
      }
    });
});
