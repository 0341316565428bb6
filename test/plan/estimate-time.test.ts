// Times are guesses; what must hold is how they grow.
import assert from "node:assert/strict";
import { estimateSeconds } from "../../merge-core/plan/estimate-time.ts";
import type { MergeJob } from "../../merge-core/plan/plan.ts";

const machine = { threads: 1, diskBytesPerSecond: 1e9 };

function job(method: string, side: number): MergeJob {
  const shape = [side, side];
  const input = { name: "x", file: "", offset: 0, byteLength: 2 * side * side, dtype: "BF16" as const, shape };
  const inputs = [0, 1, 2].map((i) => ({ ...input, model: `m${i}`, modelIndex: i, isBase: i === 0, parameters: {} }));
  return { kind: "merge", name: "x", shape, shard: 0, offset: 0, byteLength: 2 * side * side, dtype: "BF16", method, inputs, parameters: {} };
}
const work = (method: string, side: number, threads = 1) =>
  estimateSeconds({ jobs: [job(method, side)], bytesToRead: 0, bytesToWrite: 0 }, { ...machine, threads }) -
  estimateSeconds({ jobs: [], bytesToRead: 0, bytesToWrite: 0 }, machine);

describe("estimated time", () => {
  it("has the bytes at the disk's rate", () => {
    const seconds = (bytes: number) => estimateSeconds({ jobs: [], bytesToRead: 3 * bytes, bytesToWrite: bytes }, machine);
    assert.ok(Math.abs(seconds(10e9) - seconds(5e9) - 20) < 1e-9);
  });

  it("grows with the elements, for matrices with their smaller side too, and shrinks with threads", () => {
    assert.ok(Math.abs(work("linear", 2048) / work("linear", 1024) - 4) < 1e-6);
    const growth = work("iso_c", 4096) / work("iso_c", 2048);
    assert.ok(growth > 7 && growth < 8, `${growth}`);
    assert.ok(Math.abs(work("ties", 2048, 4) - work("ties", 2048) / 4) < 1e-9);
  });

  it("ranks methods by what they do with an element", () => {
    const times = ["linear", "ties", "della", "tsv_m"].map((method) => work(method, 2048));
    assert.deepEqual(
      times,
      [...times].sort((a, b) => a - b),
    );
  });
});
