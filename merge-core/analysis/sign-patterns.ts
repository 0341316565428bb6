// What counts of sign patterns say; see compute/sign-patterns.ts.
import { signIn } from "../compute/sign-patterns.ts";

export interface SignPattern {
  /** -1, 0 or 1 of each vector. */
  readonly signs: readonly number[];
  readonly count: number;
}

/** The patterns that occur. @param counts by the pattern's number, and whatever else after */
export function patternsIn(counts: Float64Array, vectors: number): SignPattern[] {
  return Array.from(counts.subarray(0, 3 ** vectors), (count, number) => ({
    signs: Array.from({ length: vectors }, (_, i) => signIn(number, i)),
    count,
  })).filter(({ count }) => count > 0);
}
