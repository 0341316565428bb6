// What adapters change in one module: products of low rank, or dense matrices where there is no such product; and the way back.
import { firstRows, type Matrix, type MatrixSpace } from "../compute/linalg/matrix.ts";
import { svd } from "../compute/linalg/svd.ts";
import type { LayerShape, LowRank } from "./family.ts";
import type { Factors } from "./low-rank.ts";

/** One adapter's part in a module, a product of low rank. */
export interface ProductTerm {
  readonly factors: LowRank;
  readonly weight: number;
  /** Position among the adapters; the key of its random numbers. */
  readonly index: number;
}

/** The part of an adapter that is no product of low rank: what it makes of the untouched base, less the base. */
export interface DenseTerm extends Omit<ProductTerm, "factors"> {
  /** [outFeatures, inFeatures] */
  readonly delta: Float64Array;
  readonly layer: LayerShape;
}

export type Term = ProductTerm | DenseTerm;

export const isProduct = (term: Term): term is ProductTerm => "factors" in term;

/** scale B A [outFeatures, inFeatures]. */
export function productOf({ a, b, r, scale, inFeatures, outFeatures }: LowRank, space: MatrixSpace): Matrix {
  const [left, right] = [space.zeros(outFeatures, r), space.zeros(r, inFeatures)];
  left.data.set(b.map((x) => x * scale));
  right.data.set(a);
  const product = space.product(left, right);
  space.free(left, right);
  return product;
}

/** The product of rank `rank` nearest to a dense change, which is freed. */
export async function nearestProduct(dense: Matrix, rank: number, space: MatrixSpace): Promise<Factors> {
  const { rows: outFeatures, columns: inFeatures } = dense;
  const { left, values, right } = await svd(space, dense, rank);
  const a = new Float64Array(rank * inFeatures);
  const bt = new Float64Array(rank * outFeatures);
  a.set(firstRows(right, values.length).data);
  for (const [k, value] of values.entries()) for (let o = 0; o < outFeatures; o++) bt[k * outFeatures + o] = value * (left.data[k * outFeatures + o] as number);
  space.free(dense, left, right);
  return { r: rank, inFeatures, outFeatures, a, bt };
}

/** |B A - sum| / |sum| of a dense sum; zero where both vanish. */
export function distanceFromDense({ r, inFeatures, outFeatures, a, bt }: Factors, sum: ArrayLike<number>): number {
  let [distance, norm] = [0, 0];
  const row = new Float64Array(inFeatures);
  for (let o = 0; o < outFeatures; o++) {
    row.fill(0);
    for (let k = 0; k < r; k++) {
      const factor = bt[k * outFeatures + o] as number;
      for (let i = 0; i < inFeatures; i++) row[i]! += factor * (a[k * inFeatures + i] as number);
    }
    for (let i = 0; i < inFeatures; i++) {
      const exact = sum[o * inFeatures + i] as number;
      distance += ((row[i] as number) - exact) ** 2;
      norm += exact ** 2;
    }
  }
  return norm === 0 ? (distance === 0 ? 0 : Number.POSITIVE_INFINITY) : Math.sqrt(distance / norm);
}
