// Room for values on their way to a caller. Workers need shared memory, which is used again: the garbage collector is slow to take it back.
import type { ComputePool } from "./pool.ts";

/** Elements of a formula that are worked out at a time for a caller; whole blocks. */
export const SCRATCH_ELEMENTS = 2 ** 20;

/** By pool, buffers that nobody uses at the moment. */
const freeBuffers = new WeakMap<ComputePool, SharedArrayBuffer[]>();

/** Lends `use` room for at most `SCRATCH_ELEMENTS` values, shared by all threads. */
export async function withScratch(pool: ComputePool, elements: number, use: (values: Float32Array) => Promise<void>): Promise<void> {
  const free = freeBuffers.get(pool) ?? [];
  freeBuffers.set(pool, free);
  const buffer = free.pop() ?? new SharedArrayBuffer(SCRATCH_ELEMENTS * 4);
  try {
    await use(new Float32Array(buffer, 0, elements));
  } finally {
    free.push(buffer);
  }
}
