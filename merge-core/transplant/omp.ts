// Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993): a vector as a sum of few rows of a matrix, each time the row
// that what is left has the largest product with, all weights fitted again. As mergekit's tokensurgeon does for new tokens (Goddard
// and Fernandes Neto 2025, 2506.06607). Products are float32 on all threads, the fit is float64. The products with what is left are not
// worked out anew at each step but from those of the target and of the rows it is made of (Batch-OMP: Rubinstein, Zibulevsky and
// Elad 2008), which many targets share.

import { dotOf } from "../compute/linalg/cholesky.ts";
import type { Matrix, MatrixSpace } from "../compute/linalg/matrix.ts";
import { GramRows } from "./gram-rows.ts";

/** For each target up to k rows with their weights; weights of rows not needed are 0. */
export interface Combination {
  /** [targets, k] */
  readonly rows: Int32Array;
  readonly weights: Float64Array;
}

/** A fit this much smaller than its target is the target, and a row this much inside the span of others is of no further use. */
const EXACT = 1e-6;

export interface PursuitOptions {
  /** Called between steps, which take seconds where matrices are large. */
  readonly pause?: () => Promise<void>;
  /** Gram rows of the points, with room for k for each target: kept from batch to batch they are found again. */
  readonly gram?: GramRows;
}

/** @param targets [b, d] @param points [n, d] @param k at most n */
export async function matchingPursuit(space: MatrixSpace, targets: Matrix, points: Matrix, k: number, options: PursuitOptions = {}): Promise<Combination> {
  const { rows: count, columns: width } = targets;
  const { pause, gram = new GramRows(space, points, count * k) } = options;
  const fits = Array.from({ length: count }, (_, b) => new Fit(targets.data.subarray(b * width, (b + 1) * width), k));
  const products = space.product(targets, points, { transposeB: true });
  const productsOf = (b: number): Float32Array => products.data.subarray(b * points.rows, (b + 1) * points.rows);
  try {
    for (let step = 0; step < k && fits.some(({ done }) => !done); step++) {
      await pause?.();
      const largest = space.largestInRows(products);
      for (const [b, fit] of fits.entries()) {
        const row = largest[b] as number;
        if (!fit.done) fit.add(row, points.data.subarray(row * width, (row + 1) * width));
      }
      if (step + 1 === k) break;
      const left = [...fits.entries()].filter(([, { done }]) => !done);
      gram.prepare(left.flatMap(([, { chosen }]) => chosen));
      space.addWeightedRows(left.map(([b, fit]) => ({ into: productsOf(b), rows: fit.chosen.map((row) => gram.row(row)), weights: fit.weightChanges() })));
      // What is left has no product with what it is made of, but for rounding.
      for (const [b, { chosen }] of left) for (const row of chosen) productsOf(b)[row] = 0;
    }
  } finally {
    if (options.gram === undefined) gram.free();
    space.free(products);
  }
  const found = { rows: new Int32Array(count * k), weights: new Float64Array(count * k) };
  for (const [b, fit] of fits.entries()) {
    found.rows.set(fit.chosen, b * k);
    found.weights.set(fit.weights(), b * k);
  }
  return found;
}

/** A row that loses less than this of its length to a projection needs no second one (Daniel et al. 1976). */
const KEPT = Math.SQRT1_2;

/** The least-squares fit of one target, grown by Gram-Schmidt. */
class Fit {
  readonly chosen: number[] = [];
  done = false;
  readonly #left: Float64Array;
  readonly #norm: number;
  /** Orthonormal basis of the chosen rows. */
  readonly #basis: Float64Array[] = [];
  /** Columns of the triangle that turns the basis into the rows. */
  readonly #triangle: Float64Array[] = [];
  readonly #along: number[] = [];
  /** Weights that are told already. */
  #told: Float64Array = new Float64Array(0);

  constructor(target: Float32Array, k: number) {
    this.#left = new Float64Array(target);
    this.#norm = length(this.#left);
    this.done = this.#norm === 0 || k === 0;
  }

  /** Adds a row to the fit. */
  add(index: number, row: Float32Array): void {
    const rest = new Float64Array(row);
    const norm = length(rest);
    const column = new Float64Array(this.#basis.length + 1);
    let height = this.#project(rest, column);
    if (height < KEPT * norm) height = this.#project(rest, column);
    if (!(height > EXACT * norm)) {
      this.done = true;
      return;
    }
    column[this.#basis.length] = height;
    for (let j = 0; j < rest.length; j++) rest[j]! /= height;
    // What is left is the target without what lies along the basis, to which the row is orthogonal.
    const along = dotOf(rest, this.#left, rest.length);
    subtract(this.#left, along, rest);
    this.chosen.push(index);
    this.#basis.push(rest);
    this.#triangle.push(column);
    this.#along.push(along);
    this.done = length(this.#left) <= EXACT * this.#norm;
  }

  /** Takes out of `rest` what lies along the basis, adding it to `column`. @returns the length of what remains */
  #project(rest: Float64Array, column: Float64Array): number {
    for (const [i, q] of this.#basis.entries()) {
      const along = dotOf(q, rest, rest.length);
      column[i]! += along;
      subtract(rest, along, q);
    }
    return length(rest);
  }

  /** How the weights have changed since the last call, negated: what the products with what is left change by. */
  weightChanges(): Float64Array {
    const weights = this.weights();
    const changes = weights.map((weight, i) => (this.#told[i] ?? 0) - weight);
    this.#told = weights;
    return changes;
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

function subtract(x: Float64Array, factor: number, y: Float64Array): void {
  for (let j = 0; j < x.length; j++) x[j]! -= factor * (y[j] as number);
}

const length = (a: Float64Array): number => Math.sqrt(dotOf(a, a, a.length));
