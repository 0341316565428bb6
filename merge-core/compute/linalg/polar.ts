// The nearest matrix with orthonormal rows or columns (the U V^T of a singular value decomposition), from products alone:
// Newton-Schulz iteration with the best scaling for what is known of the smallest singular value (Chen and Chow, 2014).
// Directions whose singular value is below about a hundred-thousandth of the largest are taken for rounding and left out, so that the
// result is the partial isometry on the others. Exact arithmetic would give the exact factor; in float32 its rows are orthonormal
// to about 1e-5.
import { copyOf, dot, frobenius, type Matrix, type MatrixSpace, transposeOf } from "./matrix.ts";

export interface Polar {
  readonly factor: Matrix;
  /** Directions kept: the smaller side, unless the matrix has lower rank. */
  readonly rank: number;
  /** Sum of the singular values. */
  readonly nuclear: number;
}

/** Singular values below this share of the largest are taken for zero. */
const TOLERANCE = 1e-5;
/** More scaling would shrink the largest values by cancellation, at the cost of their digits. */
const MOST_SCALING = 1.69;
/** Unscaled steps that end the iteration, each of which squares the error. */
const POLISH = 3;
/** How far the squares of the factor's singular values may be from 0 and 1, per direction. */
const UNDECIDED = 1e-5;
const MAX_DECISIONS = 12;

/** Polar factor of `a`; zero has rank 0 and the factor zero. `a` stays as it is. */
export function polarFactor(space: MatrixSpace, a: Matrix): Polar {
  const wide = a.rows <= a.columns;
  const x = wide ? copyOf(space, a) : transposeOf(space, a);
  const next = space.zeros(x.rows, x.columns);
  const gram = space.zeros(x.rows, x.rows);
  const scale = frobenius(x);
  if (!(scale > 0) || !Number.isFinite(scale)) return { factor: space.zeros(a.rows, a.columns), rank: 0, nuclear: 0 };
  multiplyBy(x.data, 1 / scale);
  space.product(x, x, { transposeB: true, into: gram });
  // The norm of the Gram matrix bounds its largest eigenvalue closely, so that all singular values end in (0, 1].
  const bound = Math.sqrt(frobenius(gram));
  multiplyBy(x.data, 1 / bound);
  iterate(space, x, next, gram);
  const rank = decide(space, x, next, gram);
  const factor = wide ? x : transposeOf(space, x);
  space.free(next, gram, ...(wide ? [] : [x]));
  return { factor, rank, nuclear: dot(factor.data, a.data) };
}

function iterate(space: MatrixSpace, x: Matrix, next: Matrix, gram: Matrix): void {
  let lowest = TOLERANCE;
  for (let polish = 0; polish < POLISH; ) {
    const scaling = Math.min(Math.sqrt(3 / (1 + lowest + lowest * lowest)), MOST_SCALING);
    const alpha = polish > 0 || lowest > 0.9 ? 1 : scaling;
    if (alpha === 1) polish++;
    // X <- 1/2 alpha X (3 - alpha^2 X X^T)
    space.product(x, x, { transposeB: true, into: gram });
    affine(gram, -0.5 * alpha ** 3, 1.5 * alpha);
    space.product(gram, x, { into: next });
    x.data.set(next.data);
    lowest = 0.5 * alpha * lowest * (3 - (alpha * lowest) ** 2);
  }
}

/** Moves singular values on the way to 0 or 1, whichever is nearer. @returns how many are 1 */
function decide(space: MatrixSpace, x: Matrix, next: Matrix, gram: Matrix): number {
  for (let step = 0; ; step++) {
    space.product(x, x, { transposeB: true, into: gram });
    const squares = trace(gram);
    const between = squares - dot(gram.data, gram.data);
    if (Math.abs(between) <= UNDECIDED * x.rows || step >= MAX_DECISIONS) return Math.round(squares);
    // s <- s (3 s^2 - 2 s^4), which parts small from large, then one Newton-Schulz step towards 1.
    const smooth = space.product(gram, gram);
    for (let i = 0; i < gram.data.length; i++) gram.data[i] = 3 * (gram.data[i] as number) - 2 * (smooth.data[i] as number);
    space.product(gram, x, { into: next });
    x.data.set(next.data);
    space.free(smooth);
    space.product(x, x, { transposeB: true, into: gram });
    affine(gram, -0.5, 1.5);
    space.product(gram, x, { into: next });
    x.data.set(next.data);
  }
}

function multiplyBy(data: Float32Array, factor: number): void {
  for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * factor;
}

/** G <- factor G + diagonal I. */
function affine({ rows, data }: Matrix, factor: number, diagonal: number): void {
  multiplyBy(data, factor);
  for (let i = 0; i < rows; i++) data[i * rows + i] = (data[i * rows + i] as number) + diagonal;
}

function trace({ rows, data }: Matrix): number {
  let sum = 0;
  for (let i = 0; i < rows; i++) sum += data[i * rows + i] as number;
  return sum;
}
