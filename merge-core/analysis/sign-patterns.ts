// Which signs the vectors have together, element by element, as one small number whose frequencies answer every question about signs:
// one histogram in place of a count for each question.
import { add, constant, type Expr, linear } from "../compute/expr.ts";

/** Numbers below 256 have upper halves of their own, by which the engine counts: with one flag more that is room for four vectors. */
export const MOST_PATTERN_VECTORS = 4;
const PLACE = 3;

export interface SignPattern {
  /** -1, 0 or 1 of each vector. */
  readonly signs: readonly number[];
  readonly flag: boolean;
  readonly count: number;
}

/** The number of a pattern. @param signs values -1, 0 and 1 @param flag a value 0 or 1 */
export function patternOf(signs: readonly Expr[], flag?: Expr): Expr {
  const digits = linear(signs.map((x, i) => ({ weight: PLACE ** i, x })));
  const offset = signs.reduce((sum, _, i) => sum + PLACE ** i, 0);
  const number = add(digits, constant(offset));
  return flag === undefined ? number : add(number, linear([{ weight: PLACE ** signs.length, x: flag }]));
}

/** The patterns that occur. @param histogram counts by the upper 16 bits of a pattern's number */
export function patternsIn(histogram: Float64Array, vectors: number): SignPattern[] {
  const single = PLACE ** vectors;
  return Array.from({ length: 2 * single }, (_, number) => ({
    signs: Array.from({ length: vectors }, (_, i) => (Math.floor((number % single) / PLACE ** i) % PLACE) - 1),
    flag: number >= single,
    count: histogram[upperHalf(number)] ?? 0,
  })).filter(({ count }) => count > 0);
}

function upperHalf(number: number): number {
  return (new Uint32Array(Float32Array.of(number).buffer)[0] as number) >>> 16;
}
