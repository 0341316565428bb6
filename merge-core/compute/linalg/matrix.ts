// Matrices that are whole in memory, and the two operations that everything else is built from. A matrix is stored row by row.
import { inTurns, type Pause, type Steps } from "./steps.ts";

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** float32; valid until the matrix is freed or its space closed. */
  readonly data: Float32Array;
}

export type Reals = Float32Array | Float64Array;

export interface ProductOptions {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  /** Where to put it; a fresh matrix by default. Never one of the factors. */
  readonly into?: Matrix;
  /** Add to `into` instead of replacing it. */
  readonly accumulate?: boolean;
}

/** A = sum over i of u_i s_i v_i^T. */
export interface Svd {
  /** Left vectors as rows, `values.length` of them. */
  readonly left: Matrix;
  /** Descending. */
  readonly values: Float64Array;
  /** Right vectors as rows. */
  readonly right: Matrix;
}

/** `into` and some rows of its length with their weights. */
export interface RowSum {
  readonly into: Float32Array;
  readonly rows: readonly Float32Array[];
  readonly weights: ArrayLike<number>;
}

/** Memory for matrices, and the operations that have kernels; long ones in steps. Results do not depend on threads. */
export interface MatrixSpace {
  /** A matrix of zeros. @throws WeightsmithError `out-of-memory` */
  zeros(rows: number, columns: number): Matrix;
  /** Gives one matrix back early; all others are given back when the space closes. */
  free(...matrices: readonly { readonly data: Reals }[]): void;
  /** op(A) op(B) in float32. */
  product(a: Matrix, b: Matrix, options?: ProductOptions): Matrix;
  /** A A^T in float32, at half the cost of a product; exactly symmetric. @param into never `a` */
  gram(a: Matrix, into?: Matrix): Steps<Matrix>;
  /**
   * Rotates pairs of rows of `work` (float64, `rows` of `columns`) until all are orthogonal within rounding; the larger
   * row of a pair moves up. @returns sweeps taken
   */
  orthogonalizeRows(work: Float64Array, rows: number, columns: number): Steps<number>;
  /** float64 scratch for the operations on doubles; free it as `{ data }`. */
  doubles(length: number): Float64Array;
  /** The lower triangle of Y Y^T, Y [rows, columns], in float64. What lies above it means nothing. */
  gramDoubles(y: Float64Array, rows: number, columns: number, into: Float64Array): Steps<void>;
  /** L of Y = L Q in float64, Y [rows, columns] with rows <= columns, in its lower triangle; what lies beyond means nothing. */
  lowerFactor(y: Float64Array, rows: number, columns: number): Steps<void>;
  /** A B in float64, A [rows, depth] and B [depth, columns]. */
  productDoubles(a: Float64Array, rows: number, depth: number, b: Float64Array, columns: number, into: Float64Array): void;
  /** into += sum of weight * row in float32, for each; all `into` and rows are parts of matrices of this space, and of one length. */
  addWeightedRows(sums: readonly RowSum[]): void;
  /** The column of the largest magnitude of each row, the first of equal ones. */
  largestInRows(a: Matrix): Uint32Array;
  /** A B in float32 of symmetric matrices that commute, so that it is symmetric too: at half the cost of a product. @param into neither factor */
  symmetricProduct(a: Matrix, b: Matrix, into?: Matrix): Steps<Matrix>;
  /**
   * Replaces B [size, columns] by the X of S X = B for a symmetric positive definite S of which the lower triangle is given. S is overwritten.
   * Both in float64, or both in float32. @returns false, with B spoilt, if S is not positive definite
   * @throws WeightsmithError `cancelled`, soon after the signal
   */
  solvePositive(s: Reals, size: number, b: Reals, columns: number): Promise<boolean>;
  /** Between steps of long work. @throws WeightsmithError `cancelled`, soon after the signal */
  readonly pause: Pause;
  /** The polar factor of `a`, at most as high as wide and of this Frobenius norm, where something else than the kernels finds it. */
  readonly polar?: (a: Matrix, norm: number) => Matrix | undefined;
  /** The `count` leading triplets of `a`, at most as high as wide, where something else than the kernels finds them: by `width` directions, or from the whole where these are its rows. */
  readonly leading?: (a: Matrix, count: number, width: number) => Svd | undefined;
  /** All triplets in float64 by the machine's own library on a thread of its own, where there is one; undefined if it fails. */
  readonly decompose?: (a: Matrix) => Promise<Svd | undefined>;
}

export function copyOf(space: MatrixSpace, { rows, columns, data }: Matrix): Matrix {
  const copy = space.zeros(rows, columns);
  copy.data.set(data);
  return copy;
}

/** A matrix of the first `count` rows, sharing their memory. */
export const firstRows = ({ columns, data }: Matrix, count: number): Matrix => ({ rows: count, columns, data: data.subarray(0, count * columns) });

/** Multiplications of a slice: a second of one slow core or less. */
export const SLICE_WORK = 2 ** 33;

/** `into` (+)= A op(B) with pauses between slices of its rows. @throws WeightsmithError `cancelled` */
export const productInSlices = (space: MatrixSpace, a: Matrix, b: Matrix, into: Matrix, options: SliceOptions = {}): Promise<void> =>
  inTurns(productSteps(space, a, b, into, options), space.pause);

type SliceOptions = Pick<ProductOptions, "transposeB" | "accumulate">;

/** `into` (+)= A op(B), some of its rows at a time. */
export function* productSteps(space: Pick<MatrixSpace, "product">, a: Matrix, b: Matrix, into: Matrix, options: SliceOptions = {}): Steps<void> {
  const step = Math.max(1, Math.floor(SLICE_WORK / Math.max(1, b.columns * b.rows)));
  const slice = ({ columns, data }: Matrix, from: number, to: number): Matrix => ({
    rows: to - from,
    columns,
    data: data.subarray(from * columns, to * columns),
  });
  for (let from = 0; from < a.rows; from += step) {
    const to = Math.min(a.rows, from + step);
    space.product(slice(a, from, to), b, { ...options, into: slice(into, from, to) });
    yield undefined;
  }
}

export function transposeOf(space: MatrixSpace, { rows, columns, data }: Matrix): Matrix {
  const result = space.zeros(columns, rows);
  // In squares that fit the cache: one side is always read or written against the grain.
  const SIDE = 32;
  for (let i0 = 0; i0 < rows; i0 += SIDE)
    for (let j0 = 0; j0 < columns; j0 += SIDE)
      for (let i = i0; i < Math.min(rows, i0 + SIDE); i++)
        for (let j = j0; j < Math.min(columns, j0 + SIDE); j++) result.data[j * rows + i] = data[i * columns + j] as number;
  return result;
}

/** Copies what is below the diagonal of a square matrix to above it. */
export function mirrorLower({ rows, data }: Matrix): void {
  const SIDE = 32;
  for (let i0 = 0; i0 < rows; i0 += SIDE)
    for (let j0 = 0; j0 <= i0; j0 += SIDE)
      for (let i = i0; i < Math.min(rows, i0 + SIDE); i++) for (let j = j0; j < Math.min(i, j0 + SIDE); j++) data[j * rows + i] = data[i * rows + j] as number;
}

/** Sum of products of all elements, in float64. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

export const frobenius = ({ data }: Matrix): number => Math.sqrt(dot(data, data));
