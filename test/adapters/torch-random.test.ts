import assert from "node:assert/strict";
import { firstOfPermutation } from "../../merge-core/adapters/torch-random.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";

describe("PyTorch's permutations", () => {
  it("are drawn as torch.randperm draws them", () => {
    // torch 2: randperm(10, generator=Generator().manual_seed(777)), and the first five of randperm(1_000_000) with seed 5.
    assert.deepEqual(firstOfPermutation(777, 10, 10), [5, 9, 0, 3, 1, 7, 4, 8, 6, 2]);
    assert.deepEqual(firstOfPermutation(5, 1_000_000, 5), [453411, 997051, 774247, 536598, 855558]);
  });

  it("are refused where PyTorch draws otherwise, or the seed is no such number", async () => {
    for (const [seed, n] of [
      [-1, 10],
      [2 ** 32, 10],
      [0.5, 10],
      [1, 300_000_000],
      [1, 2],
    ] as const)
      await rejectsWith("adapter-setting-invalid", async () => firstOfPermutation(seed, n, 3));
  });
});
