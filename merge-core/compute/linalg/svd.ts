// Singular value decomposition. Small sides: one-sided Jacobi in float64, all values to nearly full accuracy. Large sides, where
// only the leading triplets are wanted: randomised subspace iteration (Halko, Martinsson and Tropp, 2011) first.
import { randomKey, uniforms } from "../rng.ts";
import { firstRows, type Matrix, type MatrixSpace, type Svd, transposeOf } from "./matrix.ts";
import { orthonormalRows } from "./orthonormal-rows.ts";

export type { Svd };

/** Values below this share of the largest are rounding of the float32 input. */
const NOISE = 1e-7;
/** Up to this side the whole decomposition is cheaper than it is worth to avoid. */
const MAX_EXACT = 1024;
const OVERSAMPLING = 16;
const POWER_STEPS = 4;

/** The `count` leading triplets, fewer if the rank is lower. All of them by default. */
export function svd(space: MatrixSpace, a: Matrix, count = Math.min(a.rows, a.columns)): Svd {
  const side = Math.min(a.rows, a.columns);
  return side <= MAX_EXACT || count + OVERSAMPLING > side / 2 ? exactSvd(space, a, count) : randomisedSvd(space, a, count);
}

function exactSvd(space: MatrixSpace, a: Matrix, count: number): Svd {
  const whole = space.decompose?.(a);
  if (whole !== undefined) return leading(whole, Math.min(count, aboveNoise(whole.values)));
  if (a.rows > a.columns) {
    const transposed = transposeOf(space, a);
    const result = swapped(exactSvd(space, transposed, count));
    space.free(transposed);
    return result;
  }
  const { rows, columns } = a;
  const work = space.doubles(rows * columns);
  work.set(a.data);
  space.orthogonalizeRows(work, rows, columns);
  const order = rowsByNorm(work, rows, columns);
  const largest = order[0]?.norm ?? 0;
  const kept = order.filter(({ norm }) => norm > NOISE * largest).slice(0, count);
  const right = space.zeros(kept.length, columns);
  const values = Float64Array.from(kept, ({ norm }) => norm);
  for (const [i, { row, norm }] of kept.entries()) for (let j = 0; j < columns; j++) right.data[i * columns + j] = (work[row * columns + j] as number) / norm;
  space.free({ data: work });
  return { left: otherSide(space, a, right, values), values, right };
}

/** How many values are more than rounding. */
const aboveNoise = (values: Float64Array): number => values.filter((value) => value > NOISE * (values[0] as number)).length;

/** u_i = A v_i / s_i. */
function otherSide(space: MatrixSpace, a: Matrix, right: Matrix, values: Float64Array): Matrix {
  const left = space.product(right, a, { transposeB: true });
  for (const [i, value] of values.entries())
    for (let j = 0; j < left.columns; j++) left.data[i * left.columns + j] = (left.data[i * left.columns + j] as number) / value;
  return left;
}

function rowsByNorm(work: Float64Array, rows: number, columns: number): { row: number; norm: number }[] {
  const norms = Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let j = 0; j < columns; j++) sum += (work[row * columns + j] as number) ** 2;
    return { row, norm: Math.sqrt(sum) };
  });
  return norms.sort((x, y) => y.norm - x.norm || x.row - y.row);
}

const swapped = ({ left, values, right }: Svd): Svd => ({ left: right, values, right: left });

/** Deterministic: its random numbers come from a fixed key. */
function randomisedSvd(space: MatrixSpace, a: Matrix, count: number): Svd {
  const width = count + OVERSAMPLING;
  const probe = space.zeros(width, a.rows);
  const random = uniforms(randomKey(0, "singular vectors"), { model: 0, purpose: 0 }, 0, probe.data.length);
  for (let i = 0; i < random.length; i++) probe.data[i] = (random[i] as number) - 0.5;
  // Rows of `range` come to span the leading right vectors.
  let range = orthonormalRows(space, space.product(probe, a));
  for (let step = 0; step < POWER_STEPS; step++) {
    const back = orthonormalRows(space, space.product(range, a, { transposeB: true }));
    const next = orthonormalRows(space, space.product(back, a));
    space.free(range, back);
    range = next;
  }
  const small = space.product(range, a, { transposeB: true });
  const { left, values, right } = exactSvd(space, small, count);
  // small = range A^T, so its left vectors are coefficients of A's right vectors, and its right vectors A's left ones.
  const full = space.product(left, range);
  space.free(probe, small, range);
  return { left: right, values, right: full };
}

/** The first `count` triplets. */
export function leading({ left, values, right }: Svd, count: number): Svd {
  const kept = Math.min(count, values.length);
  return { left: firstRows(left, kept), values: values.subarray(0, kept), right: firstRows(right, kept) };
}
