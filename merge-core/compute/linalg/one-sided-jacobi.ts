// One-sided Jacobi (Hestenes): rotating pairs of rows of W makes all rows orthogonal; their norms are then the singular
// values. Pairs are taken in rounds in which no row occurs twice, so that a round's pairs can be rotated on several threads
// with the same result as on one.
import type { Steps } from "./steps.ts";

/** A sweep that meets no larger cosine is the last; convergence is quadratic, so that what it leaves is rounding. */
export const ORTHOGONAL = 1e-9;
/** A smaller cosine is rounding itself. */
export const ROUNDING = 1e-15;
/** A row this much shorter than its partner is rounding of it, and its direction means nothing. */
export const NEGLIGIBLE = 1e-14;
const MAX_SWEEPS = 40;

/** Pairs of a round. */
export const pairsOfRound = (rows: number): number => Math.floor(rows / 2);

/** Rounds of pairs by the circle method, one after the other: each pair of rows once, no row twice in a round. The two rows of a pair lie together. */
export function tournament(rows: number): Uint32Array {
  const even = rows + (rows % 2);
  const seats = Array.from({ length: even }, (_, i) => i);
  const pairs = new Uint32Array(rows * Math.max(0, rows - 1));
  for (let round = 0, at = 0; round < even - 1; round++) {
    for (let i = 0; i < even / 2; i++) {
      const [a, b] = [seats[i] as number, seats[even - 1 - i] as number];
      if (a >= rows || b >= rows) continue;
      pairs[at++] = Math.min(a, b);
      pairs[at++] = Math.max(a, b);
    }
    seats.splice(1, 0, seats.pop() ?? 0);
  }
  return pairs;
}

/**
 * @param pairs how many a sweep has
 * @param together how many of them are rotated in a step
 * @param rotate rotates the pairs from `from` to `to`, and gives the largest cosine it met
 * @returns sweeps taken
 */
export function* sweepUntilOrthogonal(pairs: number, together: number, rotate: (from: number, to: number) => number): Steps<number> {
  for (let sweep = 1; sweep <= MAX_SWEEPS; sweep++) {
    let worst = 0;
    for (let from = 0; from < pairs; from += together) {
      worst = Math.max(worst, rotate(from, Math.min(pairs, from + together)));
      yield undefined;
    }
    if (!(worst > ORTHOGONAL)) return sweep;
  }
  return MAX_SWEEPS;
}

/** Makes x and y orthogonal and x the longer one; returns the size of their cosine before. The kernel does the same. */
export function orthogonalizePair(x: Float64Array, y: Float64Array): number {
  let [a, b, c] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const [xi, yi] = [x[i] as number, y[i] as number];
    a += xi * xi;
    b += yi * yi;
    c += xi * yi;
  }
  const cosine = Math.abs(c) / Math.sqrt(a * b);
  const skip = !(cosine > ROUNDING) || Math.min(a, b) <= NEGLIGIBLE * NEGLIGIBLE * Math.max(a, b);
  if (skip && a >= b) return 0;
  const [cos, sin] = skip ? [0, -1] : rotation(a, b, c);
  for (let i = 0; i < x.length; i++) {
    const [xi, yi] = [x[i] as number, y[i] as number];
    x[i] = cos * xi - sin * yi;
    y[i] = sin * xi + cos * yi;
  }
  return skip ? 0 : cosine;
}

/** The rotation that makes the rows orthogonal and the first the longer one. */
function rotation(a: number, b: number, c: number): [cos: number, sin: number] {
  const zeta = (b - a) / (2 * c);
  const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
  const cos = 1 / Math.sqrt(1 + t * t);
  // The smaller angle keeps the order of lengths; where the second row is the longer, turning by a right angle more swaps them.
  return a >= b ? [cos, cos * t] : [cos * t, -cos];
}
