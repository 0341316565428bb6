// Sums of low-rank products without their dense matrices: factors are stacked, and where a lower rank is asked for the
// best one of that rank (Eckart and Young, 1936) is found from inner products of the factors' rows.
import { pivotedCholesky } from "../compute/linalg/gram.ts";
import { type LoadRows, plainRows } from "../compute/linalg/rows.ts";
import { atOnce, type Steps } from "../compute/linalg/steps.ts";
import { symmetricEigenSteps } from "../compute/linalg/symmetric-eigen.ts";
import type { LayerShape, LowRank } from "./family.ts";

/** B A with B^T [r, out] and A [r, in]: both sides as rows, which is what sums of products need. */
export interface Factors extends LayerShape {
  readonly r: number;
  readonly a: Float64Array;
  readonly bt: Float64Array;
}

export interface Reduced extends Factors {
  /** Frobenius norm of what was left out over that of the whole. */
  readonly relativeError: number;
}

const STRETCH = 256;

/** sum_i weight_i scale_i B_i A_i, of rank sum_i r_i; the weights go to B. */
export function stack(terms: readonly { readonly factors: LowRank; readonly weight: number }[]): Factors {
  const [first] = terms;
  if (first === undefined) throw new TypeError("nothing to stack");
  const { inFeatures, outFeatures } = first.factors;
  const r = terms.reduce((sum, { factors }) => sum + factors.r, 0);
  const a = new Float64Array(r * inFeatures);
  const bt = new Float64Array(r * outFeatures);
  let at = 0;
  for (const { factors, weight } of terms) {
    a.set(factors.a, at * inFeatures);
    const factor = weight * factors.scale;
    // In stretches that stay in the cache: B is read against the grain.
    for (let first = 0; first < outFeatures; first += STRETCH)
      for (let k = 0; k < factors.r; k++)
        for (let o = first; o < Math.min(outFeatures, first + STRETCH); o++) bt[(at + k) * outFeatures + o] = factor * (factors.b[o * factors.r + k] as number);
    at += factors.r;
  }
  return { inFeatures, outFeatures, r, a, bt };
}

/** The same, as an adapter's file holds it: A [r, in] and B [out, r], rounded once. Large merges are little else than this. */
export function stackedFactors(terms: readonly { readonly factors: LowRank; readonly weight: number }[]): {
  readonly a: Float32Array;
  readonly b: Float32Array;
} {
  const [first] = terms;
  if (first === undefined) throw new TypeError("nothing to stack");
  const { inFeatures, outFeatures } = first.factors;
  const r = terms.reduce((sum, { factors }) => sum + factors.r, 0);
  const a = new Float32Array(r * inFeatures);
  const b = new Float32Array(r * outFeatures);
  let at = 0;
  for (const { factors, weight } of terms) {
    a.set(factors.a, at * inFeatures);
    const factor = weight * factors.scale;
    for (let o = 0; o < outFeatures; o++) for (let k = 0; k < factors.r; k++) b[o * r + at + k] = factor * (factors.b[o * factors.r + k] as number);
    at += factors.r;
  }
  return { a, b };
}

/** Frobenius norm of B A: sqrt(tr(B^T B A A^T)). */
export function normOf({ a, bt, r, inFeatures, outFeatures }: Factors, load: LoadRows = plainRows): number {
  const [rowsA, rowsB] = [load(a, r, inFeatures), load(bt, r, outFeatures)];
  const [x, y] = [rowsA.gram(), rowsB.gram()];
  rowsA.free();
  rowsB.free();
  return Math.sqrt(
    Math.max(
      0,
      x.reduce((sum, value, i) => sum + value * (y[i] as number), 0),
    ),
  );
}

/** |B A - D C| / |D C|; zero where both vanish. */
export function relativeDistance(ours: Factors, exact: Factors, load?: LoadRows): number {
  const { inFeatures, outFeatures } = ours;
  const a = joined(ours.a, exact.a);
  const bt = joined(
    ours.bt,
    exact.bt.map((x) => -x),
  );
  const distance = normOf({ inFeatures, outFeatures, r: ours.r + exact.r, a, bt }, load);
  const norm = normOf(exact, load);
  return norm === 0 ? (distance === 0 ? 0 : Number.POSITIVE_INFINITY) : distance / norm;
}

function joined(x: Float64Array, y: Float64Array): Float64Array {
  const out = new Float64Array(x.length + y.length);
  out.set(x);
  out.set(y, x.length);
  return out;
}

/**
 * The product of rank `rank` nearest to B A: rows of A are orthonormal, those of B^T orthogonal and as long as the
 * singular values, largest first. Rows beyond the product's own rank are zero.
 *
 * With A = L Q (L from the Cholesky factor of A A^T, Q with orthonormal rows) the right singular vectors of B A are V^T Q,
 * V the eigenvectors of L^T B^T B L; and B A (V^T Q)^T = B L V.
 */
export const reduceRank = (product: Factors, rank: number, load?: LoadRows): Reduced => atOnce(reduceRankSteps(product, rank, load));

/** The same in steps: with ranks that sum up to a thousand it takes seconds. @param loadA for an A that is not stored whole */
export function* reduceRankSteps({ inFeatures, outFeatures, r, a, bt }: Factors, rank: number, load: LoadRows = plainRows, loadA = load): Steps<Reduced> {
  const [rowsA, rowsB] = [loadA(a, r, inFeatures), load(bt, r, outFeatures)];
  try {
    const { pivots, lower } = pivotedCholesky(rowsA.gram(), r);
    const k = pivots.length;
    const { values, vectors } = yield* symmetricEigenSteps(congruence(rowsB.gram(), lower, r, k), k);
    const kept = Math.min(rank, k);
    const total = values.reduce((sum, x) => sum + Math.max(0, x), 0);
    const dropped = values.subarray(kept).reduce((sum, x) => sum + Math.max(0, x), 0);
    const chosen = vectors.subarray(0, kept * k);
    const newA = filled(rowsA.sums(solveTriangular(chosen, lower, pivots, kept, k, r), kept), rank * inFeatures);
    const newB = filled(rowsB.sums(times(chosen, lower, kept, k, r), kept), rank * outFeatures);
    return { inFeatures, outFeatures, r: rank, a: newA, bt: newB, relativeError: total === 0 ? 0 : Math.sqrt(dropped / total) };
  } finally {
    rowsA.free();
    rowsB.free();
  }
}

/** With zeros behind its end. */
function filled(x: Float64Array, length: number): Float64Array {
  if (x.length === length) return x;
  const out = new Float64Array(length);
  out.set(x);
  return out;
}

/** L^T G L [k, k] of L [n, k]. */
function congruence(g: Float64Array, lower: Float64Array, n: number, k: number): Float64Array {
  const gl = new Float64Array(n * k);
  for (let i = 0; i < n; i++)
    for (let p = 0; p < n; p++) {
      const factor = g[i * n + p] as number;
      for (let j = 0; j < k; j++) gl[i * k + j] = (gl[i * k + j] as number) + factor * (lower[p * k + j] as number);
    }
  const out = new Float64Array(k * k);
  for (let p = 0; p < n; p++)
    for (let i = 0; i < k; i++) {
      const factor = lower[p * k + i] as number;
      if (factor === 0) continue;
      for (let j = 0; j < k; j++) out[i * k + j] = (out[i * k + j] as number) + factor * (gl[p * k + j] as number);
    }
  return out;
}

/** V L^T [rows, n] of V [rows, k] and L [n, k]. */
function times(v: Float64Array, lower: Float64Array, rows: number, k: number, n: number): Float64Array {
  const out = new Float64Array(rows * n);
  for (let i = 0; i < rows; i++)
    for (let p = 0; p < n; p++) {
      let sum = 0;
      for (let j = 0; j < k; j++) sum += (v[i * k + j] as number) * (lower[p * k + j] as number);
      out[i * n + p] = sum;
    }
  return out;
}

/** V T^-1, T the lower triangular matrix of the pivots' rows of L, as coefficients of all n rows: [rows, n]. */
function solveTriangular(v: Float64Array, lower: Float64Array, pivots: readonly number[], rows: number, k: number, n: number): Float64Array {
  const out = new Float64Array(rows * n);
  for (let i = 0; i < rows; i++)
    for (let j = k - 1; j >= 0; j--) {
      const pivot = pivots[j] as number;
      let sum = v[i * k + j] as number;
      for (let p = j + 1; p < k; p++) sum -= (out[i * n + (pivots[p] as number)] as number) * (lower[(pivots[p] as number) * k + j] as number);
      out[i * n + pivot] = sum / (lower[pivot * k + j] as number);
    }
  return out;
}
