import assert from "node:assert/strict";
import * as e from "../../merge-core/compute/expr.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { randomKey, uniforms } from "../../merge-core/compute/rng.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";

describe("selection by magnitude", () => {
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
      const { selections, results } = await engine.selectAndReduce(items, reductions);
      assert.deepEqual(selections, await engine.selectLargest(items));
      assert.deepEqual(results, await engine.reduce(reductions));
    }
    engine.close();
    await pool.close();
  });
});
