// Elements of a block taken in turns: see "turns" in expr.ts.
import { magnitudeKeys } from "./reference.ts";

/** The whole blocks around the elements [first, end). */
export function blockRange(block: number, first: number, end: number, size: number): { start: number; end: number } {
  return { start: first - (first % block), end: Math.min(size, Math.ceil(end / block) * block) };
}

/** 1 where the last of `vectors` takes. All begin with a whole block. */
export function takeTurns(vectors: readonly Float32Array[], block: number, keep: number): Float32Array {
  const size = vectors[0]?.length ?? 0;
  const taken = new Uint8Array(size);
  const mask = new Float32Array(size);
  // Keys have 31 bits; the highest says that nobody has taken the element, which goes before any magnitude.
  const sorted = new Uint32Array(block);
  for (const [turn, vector] of vectors.entries()) {
    const keys = magnitudeKeys(vector);
    for (let i = 0; i < size; i++) if (taken[i] === 0) keys[i] = (keys[i] as number) + 0x80000000;
    for (let start = 0; start < size; start += block) {
      const end = Math.min(size, start + block);
      const count = Math.ceil((keep * (end - start)) / block);
      takeLargest(keys.subarray(start, end), count, sorted, (i) => {
        taken[start + i] = 1;
        if (turn === vectors.length - 1) mask[start + i] = 1;
      });
    }
  }
  return mask;
}

/** Calls `take` for the `count` largest keys; of equal ones the first. */
function takeLargest(keys: Uint32Array, count: number, scratch: Uint32Array, take: (index: number) => void): void {
  if (count <= 0) return;
  const sorted = scratch.subarray(0, keys.length);
  sorted.set(keys);
  sorted.sort();
  const threshold = sorted[keys.length - count] as number;
  let ties = count - (keys.length - 1 - sorted.lastIndexOf(threshold));
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as number;
    if (key > threshold || (key === threshold && ties-- > 0)) take(i);
  }
}
