// A matrix -> its singular values and left singular vectors. Up to a side of 1024, or wherever that is asked for, all of them, from the
// eigenvalues of the Gram matrix of the smaller side in float64: values down to 1e-7 of the largest, which is what float32 weights
// can tell apart. Of larger ones the leading 256, by randomised subspace iteration (Halko, Martinsson and Tropp, 2011).
import { dot, firstRows, type Matrix, type MatrixSpace, transposeOf } from "../../compute/linalg/matrix.ts";
import { inTurns } from "../../compute/linalg/steps.ts";
import { svd } from "../../compute/linalg/svd.ts";
import { symmetricEigenSteps } from "../../compute/linalg/symmetric-eigen.ts";

export interface Decomposition {
  /** Falling; what is below 1e-7 of the largest is rounding and left out. */
  readonly values: Float64Array;
  /** Unit left vectors as rows [values, rows of the matrix]. */
  readonly left: Matrix;
  /** Sum of squares of all elements: of all singular values, those left out too. */
  readonly energy: number;
  /** Whether `values` are all there are. */
  readonly complete: boolean;
}

/** Values below this share of the largest are rounding of the float32 input. */
const NOISE = 1e-7;
const LARGEST_WHOLE = 1024;
export const LEADING = 256;

/** Whether a matrix is decomposed whole. */
const isWhole = (shape: readonly number[], exact: boolean): boolean => exact || Math.min(...shape) <= LARGEST_WHOLE;

/** Memory of the space that decomposing one matrix takes beside it, at most. */
export function decomposeBytes(shape: readonly number[], exact: boolean): number {
  const [size, side, longer] = [shape.reduce((a, b) => a * b, 1), Math.min(...shape), Math.max(...shape)];
  return isWhole(shape, exact) ? 8 * size + 4 * size + 8 * side * side + PACKED_BYTES : 4 * 8 * 2 * LEADING * longer;
}

/** Blocks that the float64 kernels pack for themselves, on a few threads. */
const PACKED_BYTES = 4 * 2 ** 20;

/** @param exact decompose whole whatever the size; seconds at a side of 1024, with its third power */
export async function decompose(space: MatrixSpace, matrix: Matrix, exact: boolean): Promise<Decomposition> {
  const energy = dot(matrix.data, matrix.data);
  if (energy === 0) return { values: new Float64Array(0), left: space.zeros(0, matrix.rows), energy, complete: true };
  const shape = [matrix.rows, matrix.columns];
  if (isWhole(shape, exact)) return { ...(await byGram(space, matrix)), energy, complete: true };
  const { values, left, right } = await svd(space, matrix, LEADING);
  space.free(right);
  return { values, left, energy, complete: false };
}

async function byGram(space: MatrixSpace, a: Matrix): Promise<Pick<Decomposition, "values" | "left">> {
  const isWide = a.rows <= a.columns;
  const short = isWide ? a : transposeOf(space, a);
  const { rows, columns } = short;
  const [work, gram] = [space.doubles(rows * columns), space.doubles(rows * rows)];
  work.set(short.data);
  await inTurns(space.gramDoubles(work, rows, columns, gram), space.pause);
  const { values: squares, vectors } = await inTurns(symmetricEigenSteps(gram.slice(), rows), space.pause);
  space.free({ data: work }, { data: gram });
  if (!isWide) space.free(short);
  const values = squares.map((square) => Math.sqrt(Math.max(0, square)));
  const kept = values.filter((value) => value > NOISE * (values[0] as number));
  const rowsOfSide = space.zeros(kept.length, rows);
  rowsOfSide.data.set(vectors.subarray(0, kept.length * rows));
  if (isWide) return { values: kept, left: rowsOfSide };
  const left = otherSide(space, a, rowsOfSide, kept);
  space.free(rowsOfSide);
  return { values: kept, left };
}

/** u_i = A v_i / s_i. */
function otherSide(space: MatrixSpace, a: Matrix, right: Matrix, values: Float64Array): Matrix {
  const left = space.product(right, a, { transposeB: true });
  for (const [i, value] of values.entries())
    for (let j = 0; j < left.columns; j++) left.data[i * left.columns + j] = (left.data[i * left.columns + j] as number) / value;
  return left;
}

/** The `count` leading left vectors. */
export const leadingLeft = ({ left, values }: Decomposition, count: number): Matrix => firstRows(left, Math.min(count, values.length));
