// Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993): a vector as a sum of few rows of a matrix, each time the row
// that what is left has the largest product with, all weights fitted again. As mergekit's tokensurgeon does for new tokens (Goddard
// and Fernandes Neto 2025, 2506.06607). Products are float32 on all threads, the fit is float64.
import type { Matrix, MatrixSpace } from "../compute/linalg/matrix.ts";

/** For each target up to k rows with their weights; weights of rows not needed are 0. */
export interface Combination {
  /** [targets, k] */
  readonly rows: Int32Array;
  readonly weights: Float64Array;
}

/** A fit this much smaller than its target is the target, and a row this much inside the span of others is of no further use. */
const EXACT = 1e-6;

/** @param targets [b, d] @param points [n, d] @param k at most n @param pause called between steps, which take seconds where matrices are large */
export async function matchingPursuit(
  space: MatrixSpace,
  targets: Matrix,
  points: Matrix,
  k: number,
  pause: () => Promise<void> = async () => {},
): Promise<Combination> {
  const { rows: count, columns: width } = targets;
  const found = { rows: new Int32Array(count * k), weights: new Float64Array(count * k) };
  const residuals = space.zeros(count, width);
  residuals.data.set(targets.data.subarray(0, count * width));
  const products = space.zeros(count, points.rows);
  const fits = Array.from({ length: count }, (_, b) => new Fit(targets.data.subarray(b * width, (b + 1) * width), k));
  for (let step = 0; step < k && fits.some(({ done }) => !done); step++) {
    await pause();
    space.product(residuals, points, { transposeB: true, into: products });
    for (const [b, fit] of fits.entries()) {
      if (fit.done) continue;
      const row = largest(products.data.subarray(b * points.rows, (b + 1) * points.rows), fit.chosen);
      fit.add(row, points.data.subarray(row * width, (row + 1) * width), residuals.data.subarray(b * width, (b + 1) * width));
    }
  }
  for (const [b, fit] of fits.entries()) {
    found.rows.set(fit.chosen, b * k);
    found.weights.set(fit.weights(), b * k);
  }
  space.free(residuals, products);
  return found;
}

function largest(values: Float32Array, except: readonly number[]): number {
  for (const index of except) values[index] = 0;
  let best = -1;
  let at = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i] as number);
    if (size > best) {
      best = size;
      at = i;
    }
  }
  return at;
}

/** The least-squares fit of one target, grown by Gram-Schmidt with every projection taken twice. */
class Fit {
  readonly chosen: number[] = [];
  done = false;
  readonly #target: Float64Array;
  readonly #norm: number;
  /** Orthonormal basis of the chosen rows. */
  readonly #basis: Float64Array[] = [];
  /** Columns of the triangle that turns the basis into the rows. */
  readonly #triangle: Float64Array[] = [];
  readonly #along: number[] = [];
  readonly #left: Float64Array;

  constructor(target: Float32Array, k: number) {
    this.#target = Float64Array.from(target);
    this.#left = Float64Array.from(target);
    this.#norm = length(this.#target);
    this.done = this.#norm === 0 || k === 0;
  }

  /** Adds a row to the fit and writes what is then left of the target into `residual`. */
  add(index: number, row: Float32Array, residual: Float32Array): void {
    const rest = Float64Array.from(row);
    const norm = length(rest);
    const column = new Float64Array(this.#basis.length + 1);
    for (let pass = 0; pass < 2; pass++) {
      for (const [i, q] of this.#basis.entries()) {
        const along = dot(q, rest);
        column[i]! += along;
        for (let j = 0; j < rest.length; j++) rest[j]! -= along * (q[j] as number);
      }
    }
    const height = length(rest);
    if (!(height > EXACT * norm)) {
      this.done = true;
      return;
    }
    column[this.#basis.length] = height;
    for (let j = 0; j < rest.length; j++) rest[j]! /= height;
    const along = dot(rest, this.#target);
    for (let j = 0; j < rest.length; j++) this.#left[j]! -= along * (rest[j] as number);
    this.chosen.push(index);
    this.#basis.push(rest);
    this.#triangle.push(column);
    this.#along.push(along);
    residual.set(this.#left);
    this.done = length(this.#left) <= EXACT * this.#norm;
  }

  /** Of the chosen rows, by back substitution. */
  weights(): Float64Array {
    const n = this.chosen.length;
    const weights = Float64Array.from(this.#along);
    for (let i = n - 1; i >= 0; i--) {
      for (let j = i + 1; j < n; j++) weights[i]! -= (this.#triangle[j]?.[i] as number) * (weights[j] as number);
      weights[i]! /= this.#triangle[i]?.[i] as number;
    }
    return weights;
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

const length = (a: Float64Array): number => Math.sqrt(dot(a, a));
