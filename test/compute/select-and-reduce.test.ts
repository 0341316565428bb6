import assert from "node:assert/strict";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";

/** Many equal values, of which the larger are rare. */
const coarse = (size: number): Float32Array => uniforms(randomKey(1, "w"), { model: 0, purpose: 0 }, 0, size).map((u) => Math.round(u * u * 300) / 64 - 1);

describe("selection by magnitude", () => {
  for (const size of [3000, 70_001, 2 ** 22 + 12_345])
    it(`gives thresholds alone where ties do not matter, ${size} values`, async () => {
      const values = coarse(size);
      const sorted = values.map(Math.abs).sort();
      const pool = createPool({ threads: 2 });
      const place = { dtype: "F32" as const, bytes: new Uint8Array(values.buffer) };
      const engine = openTensorEngine(pool, { name: "w", shape: [size], seed: 0, inputs: [place], output: { dtype: "F32" }, memoryBytes: 1 << 26 });
      const keeps = [1, Math.round(size / 20), Math.round(size / 2), size - 1];
      const selections = await engine.selectLargest(keeps.map((keep) => ({ x: e.input(0), keep, ties: false })));
      assert.deepEqual(
        selections,
        keeps.map((keep) => ({ threshold: sorted[size - keep], tieLimit: Number.POSITIVE_INFINITY })),
      );
      engine.close();
      await pool.close();
    });

  it("comes with reductions of the same elements, whether or not there is anything to select", async () => {
    const SIZE = 70_001;
    const values = uniforms(randomKey(0, "w"), { model: 0, purpose: 0 }, 0, SIZE).map((u) => u - 0.5);
    const pool = createPool({ threads: 2 });
    const place = { dtype: "F32" as const, bytes: new Uint8Array(values.buffer) };
    const engine = openTensorEngine(pool, { name: "w", shape: [SIZE], seed: 0, inputs: [place], output: { dtype: "F32" }, memoryBytes: 1 << 22 });
    const reductions: e.Reduction[] = [
      { op: "maxAbs", x: e.input(0) },
      { op: "sum", x: e.abs(e.input(0)) },
    ];
    for (const keeps of [[4500], [1, SIZE - 1, 17], [0, SIZE], []]) {
      const items = keeps.map((keep) => ({ x: e.input(0), keep }));
      const counted = [e.input(0), ...items.map(({ x }) => x)];
      const { selections, results, counts } = await engine.selectAndSurvey(items, reductions, counted);
      assert.deepEqual(counts, await engine.magnitudeCounts(counted));
      assert.deepEqual(selections, await engine.selectLargest(items));
      assert.deepEqual(results, await engine.reduce(reductions));
    }
    engine.close();
    await pool.close();
  });
});
