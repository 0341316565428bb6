// Singular value decomposition. Small sides: one-sided Jacobi in float64 on a triangular factor, which is as small as the smaller side and
// converges faster than the matrix itself (Drmac and Veselic, 2008), all values to nearly full accuracy. Large sides, where only the leading triplets are wanted: randomised subspace iteration (Halko, Martinsson and Tropp, 2011) first.
import { randomKey, uniforms } from "../rng.ts";
import { dotOf } from "./cholesky.ts";
import { firstRows, type Matrix, type MatrixSpace, productSteps, type Svd, transposeOf } from "./matrix.ts";
import { orthonormalRows } from "./orthonormal-rows.ts";
import { atOnce, awaited, inTurns, type Steps } from "./steps.ts";

export type { Svd };

/** Values below this share of the largest are rounding of the float32 input. */
const NOISE = 1e-7;
/** And of products in float32 alone. */
const SINGLE_NOISE = 1e-5;
/** Up to this side the whole decomposition is cheaper than it is worth to avoid. */
const MAX_EXACT = 1024;
const OVERSAMPLING = 16;
const POWER_STEPS = 4;

/** The `count` leading triplets, fewer if the rank is lower. All of them by default. @throws WeightsmithError `cancelled` */
export const svd = (space: MatrixSpace, a: Matrix, count?: number): Promise<Svd> => inTurns(steps(space, a, count), space.pause);

/** The same for small matrices, without a turn for others. @param space one without a library's decomposition */
export const svdAtOnce = (space: MatrixSpace, a: Matrix, count?: number): Svd => atOnce(steps(space, a, count));

function* steps(space: MatrixSpace, a: Matrix, count = Math.min(a.rows, a.columns)): Steps<Svd> {
  const side = Math.min(a.rows, a.columns);
  const few = count + OVERSAMPLING <= side / 2;
  const found = foundBy(space, a, Math.min(count, side), few ? count + OVERSAMPLING : side);
  return found ?? (yield* side > MAX_EXACT && few ? randomisedSvd(space, a, count) : exactSvd(space, a, count));
}

/** By an engine that keeps the whole of it to itself. */
function foundBy(space: MatrixSpace, a: Matrix, count: number, width: number): Svd | undefined {
  if (space.leading === undefined) return undefined;
  if (a.rows > a.columns) {
    const transposed = transposeOf(space, a);
    const result = foundBy(space, transposed, count, width);
    space.free(transposed);
    return result && swapped(result);
  }
  const found = space.leading(a, count, width);
  return found && leading(found, aboveNoise(found.values, SINGLE_NOISE));
}

function* exactSvd(space: MatrixSpace, a: Matrix, count: number): Steps<Svd> {
  const whole = space.decompose && (yield* awaited(space.decompose(a)));
  if (whole !== undefined) return leading(whole, Math.min(count, aboveNoise(whole.values)));
  if (a.rows > a.columns) {
    const transposed = transposeOf(space, a);
    const result = swapped(yield* exactSvd(space, transposed, count));
    space.free(transposed);
    return result;
  }
  const triangle = yield* turnedFactor(space, a);
  yield* space.orthogonalizeRows(triangle, a.rows, a.rows);
  const order = rowsByNorm(triangle, a.rows);
  const largest = order[0]?.norm ?? 0;
  const kept = order.filter(({ norm }) => norm > NOISE * largest).slice(0, count);
  const values = Float64Array.from(kept, ({ norm }) => norm);
  const left = space.doubles(kept.length * a.rows);
  for (const [i, { row, norm }] of kept.entries()) for (let j = 0; j < a.rows; j++) left[i * a.rows + j] = (triangle[row * a.rows + j] as number) / norm;
  space.free({ data: triangle });
  const right = yield* otherSide(space, a, left, values);
  const single = space.zeros(kept.length, a.rows);
  single.data.set(left);
  space.free({ data: left });
  return { left: single, values, right };
}

/** L^T of A = L Q, in float64: its rotated rows are the left vectors times their values, and there are as few columns as rows. */
function* turnedFactor(space: MatrixSpace, { rows, columns, data }: Matrix): Steps<Float64Array> {
  const work = space.doubles(rows * columns);
  work.set(data);
  yield* space.lowerFactor(work, rows, columns);
  const turned = space.doubles(rows * rows).fill(0);
  for (let i = 0; i < rows; i++) for (let j = 0; j <= i; j++) turned[j * rows + i] = work[i * columns + j] as number;
  space.free({ data: work });
  return turned;
}

/** How many values are more than rounding. */
const aboveNoise = (values: Float64Array, noise = NOISE): number => values.filter((value) => value > noise * (values[0] as number)).length;

/** Columns that are worked out at a time: room for them in float64 is small beside the matrix. */
const SLICE = 64;

/** v_i = u_i A / s_i, in float64: small values magnify rounding. */
function* otherSide(space: MatrixSpace, { rows, columns, data }: Matrix, left: Float64Array, values: Float64Array): Steps<Matrix> {
  const right = space.zeros(values.length, columns);
  const [from, to] = [space.doubles(rows * SLICE), space.doubles(values.length * SLICE)];
  for (let first = 0; first < columns; first += SLICE) {
    const width = Math.min(SLICE, columns - first);
    for (let i = 0; i < rows; i++) from.set(data.subarray(i * columns + first, i * columns + first + width), i * width);
    space.productDoubles(left, values.length, rows, from, width, to);
    for (const [i, value] of values.entries()) for (let j = 0; j < width; j++) right.data[i * columns + first + j] = (to[i * width + j] as number) / value;
    yield undefined;
  }
  space.free({ data: from }, { data: to });
  return right;
}

function rowsByNorm(rows: Float64Array, size: number): { row: number; norm: number }[] {
  const norms = Array.from({ length: size }, (_, row) => {
    const values = rows.subarray(row * size, (row + 1) * size);
    return { row, norm: Math.sqrt(dotOf(values, values, size)) };
  });
  return norms.sort((x, y) => y.norm - x.norm || x.row - y.row);
}

const swapped = ({ left, values, right }: Svd): Svd => ({ left: right, values, right: left });

/** Deterministic: its random numbers come from a fixed key. */
function* randomisedSvd(space: MatrixSpace, a: Matrix, count: number): Steps<Svd> {
  const width = count + OVERSAMPLING;
  const probe = space.zeros(width, a.rows);
  const random = uniforms(randomKey(0, "singular vectors"), { model: 0, purpose: 0 }, 0, probe.data.length);
  for (let i = 0; i < random.length; i++) probe.data[i] = (random[i] as number) - 0.5;
  // Rows of `range` come to span the leading right vectors.
  let range = yield* orthonormalRows(space, yield* productOf(space, probe, a));
  for (let step = 0; step < POWER_STEPS; step++) {
    const back = yield* orthonormalRows(space, yield* productOf(space, range, a, true));
    const next = yield* orthonormalRows(space, yield* productOf(space, back, a));
    space.free(range, back);
    range = next;
  }
  const small = yield* productOf(space, range, a, true);
  const { left, values, right } = yield* exactSvd(space, small, count);
  // small = range A^T, so its left vectors are coefficients of A's right vectors, and its right vectors A's left ones.
  const full = yield* productOf(space, left, range);
  space.free(probe, small, range);
  return { left: right, values, right: full };
}

/** A B, or A B^T. */
function* productOf(space: MatrixSpace, a: Matrix, b: Matrix, transposeB = false): Steps<Matrix> {
  const into = space.zeros(a.rows, transposeB ? b.rows : b.columns);
  yield* productSteps(space, a, b, into, { transposeB });
  return into;
}

/** The first `count` triplets. */
export function leading({ left, values, right }: Svd, count: number): Svd {
  const kept = Math.min(count, values.length);
  return { left: firstRows(left, kept), values: values.subarray(0, kept), right: firstRows(right, kept) };
}
