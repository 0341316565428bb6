// What plans say about memory, and what runs take.
import assert from "node:assert/strict";
import { createPool } from "../../merge-core/compute/pool.ts";
import { openTensorEngine } from "../../merge-core/compute/tensor-engine.ts";
import { findMethod } from "../../merge-core/methods/registry.ts";
import { estimate } from "../../merge-core/plan/estimate.ts";
import type { MergeJob } from "../../merge-core/plan/plan.ts";
import { randomWeights } from "../helpers/floats.ts";
import { arrayTask } from "../helpers/merge-arrays.ts";

const SHAPE = [1024, 1024];
const SIZE = 1024 * 1024;
const MEMORY = 256e6;

function jobOf(method: string, parameters: Record<string, number>): MergeJob {
  const input = { name: "x", file: "", offset: 0, byteLength: 4 * SIZE, dtype: "F32" as const, shape: SHAPE };
  const inputs = [0, 1, 2].map((i) => ({ ...input, model: `m${i}`, modelIndex: i, isBase: i === 0, parameters: { weight: 1, density: 0.5 } }));
  return { kind: "merge", name: "x", shape: SHAPE, shard: 0, offset: 0, byteLength: 4 * SIZE, dtype: "F32", method, inputs, parameters };
}

describe("estimated memory", () => {
  for (const [id, parameters] of [
    ["cabs", {}],
    ["della", {}],
    ["model_stock", { filter_wise: 1 }],
    ["task_arithmetic", {}],
  ] as const)
    it(`holds what ${id} takes of the shared memory, side values included`, async () => {
      const models = [0, 1, 2].map((i) => ({ values: randomWeights(SIZE, i), isBase: i === 0, parameters: { weight: 1, density: 0.5 } }));
      const task = arrayTask(id, models, { shape: SHAPE, parameters });
      const pool = createPool({ threads: 1, maxMemoryBytes: MEMORY });
      const { arena } = pool;
      const before = arena.usedBytes;
      let peak = 0;
      const alloc = arena.alloc.bind(arena);
      arena.alloc = (bytes) => {
        const address = alloc(bytes);
        peak = Math.max(peak, arena.usedBytes - before);
        return address;
      };
      const inputs = models.map(({ values }) => ({ dtype: "F32" as const, bytes: new Uint8Array(values.buffer) }));
      const engine = openTensorEngine(pool, { name: "x", shape: SHAPE, seed: 0, inputs, output: { dtype: "F32" }, memoryBytes: MEMORY });
      const method = findMethod(id);
      assert.ok(method);
      await engine.write(await method.merge(task, engine));
      engine.close();
      await pool.close();
      const none = estimate([], 0, MEMORY).peakMemoryBytes;
      const stated = estimate([jobOf(id, { ...task.parameters } as Record<string, number>)], 0, MEMORY).peakMemoryBytes - none;
      assert.ok(peak <= stated, `${id} took ${peak} bytes, stated ${stated}`);
      assert.ok(stated <= 2 * (peak + 4 * 4 * SIZE), `${id} states ${stated} bytes but took ${peak}`);
    });
});

describe("bytes to read", () => {
  const GIB = 2 ** 30;
  const read = (columns: number, memory: number): number => {
    const job = jobOf("dare_ties", {});
    const byteLength = 2 * 1024 * columns;
    const inputs = job.inputs.map((input) => ({ ...input, shape: [1024, columns], byteLength }));
    return estimate([{ ...job, inputs, shape: [1024, columns], byteLength }], byteLength, memory).bytesToRead / (3 * byteLength);
  };

  it("are those of one pass while copies of a tensor's inputs take at most half of the memory, and 512 MiB", () => {
    assert.equal(read(2 ** 15, GIB), 1);
    assert.equal(read(2 ** 15, GIB / 4), 2);
    assert.equal(read(2 ** 17, 4 * GIB), 2);
  });
});
