import assert from "node:assert/strict";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { createReferenceEngine } from "../../merge-core/compute/reference.ts";
import type { SignedVectors } from "../../merge-core/compute/sign-patterns.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { randomWords } from "../helpers/floats.ts";

/** Zeros of both signs, the smallest numbers, numbers whose lower bits alone are set, and large ones. */
const HARD = [0, -0, 2 ** -149, -(2 ** -149), 2 ** -134, -(2 ** -134), 1, -1, 3e38, -3e38];

/** Element by element, in plain words. */
function countPlainly(arrays: readonly Float32Array[], elected: Float32Array): number[] {
  const patterns = 3 ** arrays.length;
  const counts = new Array<number>(patterns + arrays.length).fill(0);
  for (let i = 0; i < elected.length; i++) {
    const signs = arrays.map((values) => Math.sign(values[i] as number));
    const number = signs.reduce((sum, sign, vector) => sum + (sign + 1) * 3 ** vector, 0);
    counts[number] = (counts[number] as number) + 1;
    for (const [vector, sign] of signs.entries())
      if (sign === ((elected[i] as number) < 0 ? -1 : 1)) counts[patterns + vector] = (counts[patterns + vector] as number) + 1;
  }
  return counts;
}

describe("sign patterns", () => {
  for (const size of [1, 63, 64, 1000, 70_001])
    it(`are counted as element by element, ${size} elements`, async () => {
      const arrays = [0, 1, 2, 3, 4].map((seed) => Float32Array.from(randomWords(size, seed + 1), (word) => HARD[word % HARD.length] as number));
      const inputs = arrays.map((values) => ({ dtype: "F32" as const, bytes: new Uint8Array(values.buffer) }));
      const elected = arrays[4] as Float32Array;
      const groups = [1, 2, 3, 4].map((n): SignedVectors => ({ xs: [0, 1, 2, 3].slice(0, n).map((i) => e.input(i)), elected: e.input(4) }));
      const expected = groups.map(({ xs }) => countPlainly(arrays.slice(0, xs.length), elected));
      const plain = createReferenceEngine({ name: "t", shape: [size], seed: 0, inputs: arrays });
      assert.deepEqual(
        (await plain.survey([], [], groups)).patterns.map((counts) => [...counts]),
        expected,
      );
      for (const threads of [1, 2]) {
        const pool = createPool({ threads });
        const engine = openTensorEngine(pool, {
          name: "t",
          shape: [size],
          seed: 0,
          inputs,
          output: { dtype: "F32" },
          memoryBytes: 1 << 24,
          tileBytes: 1 << 14,
        });
        const { results, patterns } = await engine.survey(
          [{ op: "countNonZero", x: e.input(0) }],
          [],
          [...groups, { xs: [e.input(1), { op: "neg", a: e.input(0) }] }],
        );
        assert.deepEqual(
          patterns.slice(0, 4).map((counts) => [...counts]),
          expected,
        );
        const opposite = arrays.slice(1, 2).concat((arrays[0] as Float32Array).map((value) => -value));
        assert.deepEqual([...(patterns[4] as Float64Array)], countPlainly(opposite, elected).slice(0, 9), "of formulas, with no sign elected");
        assert.deepEqual(results, [(arrays[0] as Float32Array).filter((value) => value !== 0).length]);
        engine.close();
        await pool.close();
      }
    });
});
