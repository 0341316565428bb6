// Where MAP measures before it fits: each model alone, then points spread over the box.
import { RandomStream } from "./random-stream.ts";

export interface Box {
  readonly low: readonly number[];
  readonly high: readonly number[];
}

/** Default number of samples: twice the unknowns of one surrogate. */
export const defaultSamples = (n: number): number => (n + 1) * (n + 2);

/**
 * `count` different settings in the box: one coefficient at its upper end and the others at their lower ends, for each; all lower ends; the
 * middle; then a scrambled Latin hypercube, whose points fill every coefficient's range evenly. (The released code draws the rest from a regular grid,
 * of which few samples leave large parts empty.)
 */
export function mapSamples({ low, high }: Box, count: number, seed: number): number[][] {
  const ends = high.map((_, i) => low.map((l, j) => (i === j ? (high[j] ?? l) : l)));
  const middle = low.map((l, j) => (l + (high[j] ?? l)) / 2);
  const fixed = [...ends, [...low], middle].slice(0, Math.max(high.length, count));
  return [...fixed, ...latinHypercube({ low, high }, Math.max(0, count - fixed.length), new RandomStream(seed, "map samples"))];
}

/** `count` points of which every coefficient has exactly one in each of `count` equal parts of its range. */
export function latinHypercube({ low, high }: Box, count: number, random: RandomStream): number[][] {
  const parts = Array.from({ length: count }, (_, i) => i);
  const columns = low.map((l, j) => random.shuffled(parts).map((part) => l + ((part + random.uniform()) / count) * ((high[j] ?? l) - l)));
  return parts.map((i) => columns.map((column) => column[i] ?? 0));
}
