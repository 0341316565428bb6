// How many elements have which magnitude, in bins that add up over tensors. A bin is the upper 16 bits of a float32 without
// its sign: 128 bins per power of two, so a quantile read from them is right within 0.4 %.
import { keyToValue } from "../compute/reference.ts";

/** Counts of bins from `first` on; the bins outside are empty. */
export interface MagnitudeCounts {
  /** The lowest bin: zeros, and what is smaller than any normal number. Apart, for it is far from the others. */
  readonly zeros: number;
  readonly first: number;
  readonly counts: Float64Array;
}

export const NO_COUNTS: MagnitudeCounts = { zeros: 0, first: 0, counts: new Float64Array(0) };

/** Without the empty bins at both ends. */
export function compactCounts(histogram: Float64Array): MagnitudeCounts {
  const zeros = histogram[0] ?? 0;
  let first = 1;
  while (first < histogram.length && histogram[first] === 0) first++;
  let end = histogram.length;
  while (end > first && histogram[end - 1] === 0) end--;
  return { zeros, first, counts: histogram.slice(first, end) };
}

export function addCounts(a: MagnitudeCounts, b: MagnitudeCounts): MagnitudeCounts {
  const zeros = a.zeros + b.zeros;
  if (a.counts.length === 0) return { ...b, zeros };
  if (b.counts.length === 0) return { ...a, zeros };
  const first = Math.min(a.first, b.first);
  const counts = new Float64Array(Math.max(a.first + a.counts.length, b.first + b.counts.length) - first);
  counts.set(a.counts, a.first - first);
  const shift = b.first - first;
  for (let i = 0; i < b.counts.length; i++) counts[shift + i] = (counts[shift + i] as number) + (b.counts[i] as number);
  return { zeros, first, counts };
}

/** The magnitude that a share `q` of the elements does not exceed: the middle of its bin; 0 if there are no elements. */
export function magnitudeQuantile({ zeros, first, counts }: MagnitudeCounts, q: number): number {
  const total = counts.reduce((sum, count) => sum + count, zeros);
  const rank = Math.max(1, Math.ceil(q * total));
  let seen = zeros;
  for (let bin = 0; bin < counts.length && seen < rank; bin++) {
    seen += counts[bin] as number;
    if (seen >= rank) return keyToValue((first + bin) * 0x10000 + 0x8000);
  }
  return 0;
}
