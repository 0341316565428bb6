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

  it("comes with counts of all elements, whether a sample finds the window or misleads", async () => {
    const size = 2 ** 22 + 12_345;
    const draws = uniforms(randomKey(2, "w"), { model: 0, purpose: 0 }, 0, size);
    // Samples are the first 16384 of every 262144 elements.
    const misleading = draws.map((u, i) => (i % 262144 < 16384 ? u / 64 : 1 + u));
    const tensors = { bell: draws.map((u) => u * u - u ** 3), ties: coarse(size), misleading, zeros: draws.map((u) => Math.max(0, u - 0.9)) };
    tensors.bell.set([Number.NaN, Number.POSITIVE_INFINITY, -0, 2 ** -149], 70_000);
    const pool = createPool({ threads: 2 });
    for (const [name, values] of Object.entries(tensors)) {
      const counts = new Float64Array(0x7f81);
      for (const word of new Uint32Array(values.buffer)) {
        const bin = Math.min(0x7f80, (word & 0x7fffffff) >>> 16);
        counts[bin] = (counts[bin] as number) + 1;
      }
      const place = { dtype: "F32" as const, bytes: new Uint8Array(values.buffer) };
      const engine = openTensorEngine(pool, { name, shape: [size], seed: 0, inputs: [place], output: { dtype: "F32" }, memoryBytes: 1 << 28 });
      const x = e.input(0);
      const other = e.scale(x, 2);
      const items = [1000, size >> 2].flatMap((keep) => [x, other].map((y) => ({ x: y, keep })));
      const found = await engine.selectAndSurvey(items, [{ op: "maxAbs", x }], [x, other]);
      assert.deepEqual(found.counts[0], counts, name);
      assert.deepEqual(found.counts, await engine.magnitudeCounts([x, other]), name);
      assert.deepEqual(found.selections, await engine.selectLargest(items), name);
      assert.deepEqual(found.results, await engine.reduce([{ op: "maxAbs", x }]), name);
      engine.close();
    }
    await pool.close();
  });
});
