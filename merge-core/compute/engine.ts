// What a merge method may ask of the machine while it merges one tensor.
import type { Expr, MagnitudeSelection, Reduction } from "./expr.ts";
import type { MatrixSpace } from "./linalg/matrix.ts";
import type { Axis } from "./lines.ts";
import type { SignedVectors } from "./sign-patterns.ts";

/** A formula, and how many of its elements to keep. */
export interface Keep {
  readonly x: Expr;
  readonly keep: number;
  /** The threshold is all that is wanted, which takes less; `tieLimit` is then infinite. */
  readonly ties?: false;
}

/**
 * One output tensor being merged: its inputs are open, nothing is computed yet. Each call reads the inputs once
 * (from memory when they fit the budget, else from disk again). Results do not depend on threads, tiles or memory.
 */
export interface TensorEngine {
  /** Shape of the output and, unless a view says otherwise, of every input. */
  readonly shape: readonly number[];
  /** Element count. */
  readonly size: number;
  readonly inputCount: number;
  /** One pass; results in the order asked, each a float64. */
  reduce(reductions: readonly Reduction[]): Promise<number[]>;
  /**
   * For each item, the exact selection of the `keep` elements of largest magnitude (0 <= keep <= size);
   * ties at the threshold go to the lowest index. Histogram passes, never a sort.
   */
  selectLargest(items: readonly Keep[]): Promise<MagnitudeSelection[]>;
  /** `selectLargest` and `survey` of the same elements, together in as many passes as the selection takes alone. */
  selectAndSurvey(
    items: readonly Keep[],
    reductions: readonly Reduction[],
    counted?: readonly Expr[],
  ): Promise<{ readonly selections: MagnitudeSelection[]; readonly results: number[]; readonly counts: Float64Array[] }>;
  /** For each formula, how many elements have which upper 16 bits without the sign; bins ascend with magnitude, NaN is in the last.
   * With `bins`, of the elements of one such bin each, how many have which lower 16 bits. */
  magnitudeCounts(xs: readonly Expr[], bins?: readonly number[]): Promise<Float64Array[]>;
  /** Reductions, for each formula of `counted` what `magnitudeCounts` gives, and how many elements have which signs in several vectors, in one pass. */
  survey(
    reductions: readonly Reduction[],
    counted: readonly Expr[],
    signed?: readonly SignedVectors[],
  ): Promise<{ readonly results: number[]; readonly counts: Float64Array[]; readonly patterns: Float64Array[] }>;
  /**
   * Memory and operations for whole matrices, for methods of the matrix kind; given back when `use` is done. Not bound by the memory
   * budget: the method says what it needs.
   */
  withMatrices<T>(use: (space: MatrixSpace) => T | Promise<T>): Promise<T>;
  /** Inner products of all pairs of formulas for each row (which ends with the last dimension) or column, in float64 in index order; pairs as `pairsOf` has them. */
  lineProducts(xs: readonly Expr[], axis: Axis): Promise<Float64Array[]>;
  /** Kullback-Leibler divergence of the softmax of each row of `a` from that of the same row of `b`. */
  rowDivergences(a: Expr, b: Expr): Promise<Float64Array>;
  /** Elements [first, end) of a formula, in memory; all of them by default, so ask for whole tensors only where they are small. */
  values(expr: Expr, first?: number, end?: number): Promise<Float32Array>;
}
