// Which signs vectors have together, element by element, as one small number whose frequencies answer every question about signs: one table in
// place of a count for each question.
import { add, compare, constant, type Expr, linear, sub } from "./expr.ts";

/** Their patterns fit the kernels' tables; as float32, their numbers have upper halves of their own, by which histograms count. */
export const MOST_PATTERN_VECTORS = 4;
const PLACE = 3;

/** Vectors without NaN. */
export interface SignedVectors {
  readonly xs: readonly Expr[];
  /** Its sign is elected, zero being positive: of each vector the elements of that sign are counted too. */
  readonly elected?: Expr | undefined;
}

/** How many patterns there are: signs -1, 0 and 1 are the digits 0, 1 and 2, the first vector's the last. */
const patternCount = ({ xs }: SignedVectors): number => PLACE ** xs.length;

/** How many counts: by pattern, then of each vector those of the elected sign. */
export const countsLength = (vectors: SignedVectors): number => patternCount(vectors) + (vectors.elected === undefined ? 0 : vectors.xs.length);

/** The number of an element's pattern as a formula; greater by the number of patterns where the elected sign is positive. */
export function patternNumber({ xs, elected }: SignedVectors): Expr {
  const digits = linear(xs.map((x, i) => ({ weight: PLACE ** i, x: signOf(x) })));
  const offset = xs.reduce((sum, _, i) => sum + PLACE ** i, 0);
  const number = add(digits, constant(offset));
  return elected === undefined ? number : add(number, linear([{ weight: PLACE ** xs.length, x: compare("ge", elected, constant(0)) }]));
}

/** The counts from those of the number by its upper 16 bits. */
export function countsFromHistogram(vectors: SignedVectors, histogram: Float64Array): Float64Array {
  const patterns = patternCount(vectors);
  const counts = new Float64Array(countsLength(vectors));
  for (let number = 0; number < 2 * patterns; number++) {
    const [pattern, count] = [number % patterns, histogram[upperHalf(number)] ?? 0];
    counts[pattern] = (counts[pattern] as number) + count;
    const sign = number < patterns ? -1 : 1;
    for (let i = 0; patterns + i < counts.length; i++) if (signIn(pattern, i) === sign) counts[patterns + i] = (counts[patterns + i] as number) + count;
  }
  return counts;
}

/** The sign of vector number `i` in a pattern. */
export const signIn = (pattern: number, i: number): number => (Math.floor(pattern / PLACE ** i) % PLACE) - 1;

/** -1, 0 or 1. Products of signs cannot underflow as products of small changes can. */
export const signOf = (x: Expr): Expr => sub(compare("gt", x, constant(0)), compare("lt", x, constant(0)));

function upperHalf(number: number): number {
  return (new Uint32Array(Float32Array.of(number).buffer)[0] as number) >>> 16;
}
