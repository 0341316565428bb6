// Elements of a block taken in turns: see "turns" in expr.ts.
import { NAN_KEY } from "./reference.ts";

/** The whole blocks around the elements [first, end). */
export function blockRange(block: number, first: number, end: number, size: number): { start: number; end: number } {
  return { start: first - (first % block), end: Math.min(size, Math.ceil(end / block) * block) };
}

/** 1 where the last of `vectors` takes. All begin with a whole block; their memory is overwritten. */
export function takeTurns(vectors: readonly Float32Array[], block: number, keep: number): Float32Array {
  const size = vectors[0]?.length ?? 0;
  const taken = new Uint8Array(size);
  const mask = new Float32Array(size);
  // Keys have 31 bits; the highest says that nobody has taken the element, which goes before any magnitude.
  const scratch = new Uint32Array(block);
  for (const [turn, vector] of vectors.entries()) {
    const keys = new Uint32Array(vector.buffer, vector.byteOffset, size);
    for (let i = 0; i < size; i++) keys[i] = Math.min((keys[i] as number) & 0x7fffffff, NAN_KEY) + (taken[i] === 0 ? 0x80000000 : 0);
    for (let start = 0; start < size; start += block) {
      const end = Math.min(size, start + block);
      const count = Math.ceil((keep * (end - start)) / block);
      takeLargest(keys.subarray(start, end), count, scratch, (i) => {
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
  scratch.set(keys);
  const threshold = nthLargest(scratch, keys.length, count);
  let ties = count;
  for (let i = 0; i < keys.length; i++) if ((keys[i] as number) > threshold) ties--;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as number;
    if (key > threshold || (key === threshold && ties-- > 0)) take(i);
  }
}

/** The n-th largest (from 1) of the first `length` values, which change places (Hoare's selection). */
function nthLargest(values: Uint32Array, length: number, n: number): number {
  const place = length - n;
  let [low, high] = [0, length - 1];
  while (low < high) {
    const pivot = values[(low + high) >>> 1] as number;
    let [i, j] = [low, high];
    while (i <= j) {
      while ((values[i] as number) < pivot) i++;
      while ((values[j] as number) > pivot) j--;
      if (i > j) break;
      const value = values[i] as number;
      values[i++] = values[j] as number;
      values[j--] = value;
    }
    if (place <= j) high = j;
    else if (place >= i) low = i;
    else break;
  }
  return values[place] as number;
}
