// How many elements have which magnitude, in bins that add up over tensors. A bin is the upper 16 bits of a float32 without
// its sign: 128 bins per power of two, so a quantile read from them is right within 0.4 %.
import { keyToValue } from "../compute/reference.ts";

/** Counts of bins from `first` on; the bins outside are empty. */
export interface MagnitudeCounts {
  readonly first: number;
  readonly counts: Float64Array;
}

export const NO_COUNTS: MagnitudeCounts = { first: 0, counts: new Float64Array(0) };

/** Without the empty bins at both ends. */
export function compactCounts(histogram: Float64Array): MagnitudeCounts {
  const first = histogram.findIndex((count) => count > 0);
  if (first < 0) return NO_COUNTS;
  const last = histogram.findLastIndex((count) => count > 0);
  return { first, counts: histogram.slice(first, last + 1) };
}

export function addCounts(a: MagnitudeCounts, b: MagnitudeCounts): MagnitudeCounts {
  if (a.counts.length === 0) return b;
  if (b.counts.length === 0) return a;
  const first = Math.min(a.first, b.first);
  const counts = new Float64Array(Math.max(a.first + a.counts.length, b.first + b.counts.length) - first);
  for (const part of [a, b])
    for (const [i, count] of part.counts.entries()) counts[part.first - first + i] = (counts[part.first - first + i] as number) + count;
  return { first, counts };
}

/** The magnitude that a share `q` of the elements does not exceed: the middle of its bin; 0 if there are no elements. */
export function magnitudeQuantile({ first, counts }: MagnitudeCounts, q: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const rank = Math.max(1, Math.ceil(q * total));
  let seen = 0;
  const bin = counts.findIndex((count) => {
    seen += count;
    return seen >= rank;
  });
  return bin < 0 ? 0 : middleOf(first + bin);
}

/** The lowest bin holds zeros and what is smaller than any normal number; it counts as zero. */
const middleOf = (bin: number): number => (bin === 0 ? 0 : keyToValue(bin * 0x10000 + 0x8000));
