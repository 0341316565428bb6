import assert from "node:assert/strict";
import { plainRows, poolRows } from "../../../merge-core/compute/linalg/rows.ts";
import { createPool } from "../../../merge-core/compute/pool.ts";
import { testRandom } from "../../helpers/tiny-decoder.ts";

const randoms = (count: number, seed: number) => Float64Array.from({ length: count }, testRandom(seed));

describe("Rows on a pool", () => {
  for (const [rows, n] of [
    [1, 1],
    [4, 6],
    [7, 9],
    [18, 101],
  ] as const) {
    it(`multiply and add up as plain ones, the same for any threads: ${rows} rows of ${n}`, async () => {
      const [x, c] = [randoms(rows * n, 1), randoms(5 * rows, 2)];
      const results: Float64Array[][] = [];
      for (const threads of [1, 2]) {
        const pool = createPool({ threads, maxMemoryBytes: 2 ** 26 });
        const loaded = poolRows(pool)(x, rows, n);
        results.push([loaded.gram(), loaded.sums(c, 5)]);
        loaded.free();
        await pool.close();
      }
      assert.deepEqual(results[0], results[1]);
      const plain = plainRows(x, rows, n);
      for (const [i, expected] of [plain.gram(), plain.sums(c, 5)].entries()) {
        assert.equal(results[0]?.[i]?.length, expected.length);
        for (const [at, value] of expected.entries()) assert.ok(Math.abs(value - (results[0]?.[i]?.[at] ?? Number.NaN)) < 1e-13, `${at}`);
      }
    });
  }
});
