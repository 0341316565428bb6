// Centred kernel alignment of two representations of the same inputs (Kornblith et al., 2019, 1905.00414), from Gram matrices of the
// inputs: linear CKA, and the debiased one of the unbiased HSIC (Song et al., 2012; as in Nguyen et al., 2021, 2010.15327), which stays near 0
// for unrelated representations where features are many and inputs few.
import { gramOf } from "../compute/linalg/gram.ts";
import type { Measure } from "./comparison.ts";

/** X X^T [n, n] of X [n, p] with its columns centred, in float64. Means do not change either measure. */
export function centredGram(x: ArrayLike<number>, n: number): Float64Array {
  const p = x.length / n;
  const centred = Float64Array.from(x);
  for (let j = 0; j < p; j++) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += centred[i * p + j] as number;
    for (let i = 0; i < n; i++) centred[i * p + j] = (centred[i * p + j] as number) - sum / n;
  }
  return gramOf(centred, n, p);
}

/** <K, L> / (|K| |L|) = |Y^T X|^2 / (|X^T X| |Y^T Y|) of two centred Gram matrices; null where one representation is constant. */
export const linearCka = (k: Float64Array, l: Float64Array): Measure => normalised(product, k, l);

/** The same with the unbiased HSIC in place of each product; null with fewer than 4 inputs or where its estimate of a norm is not positive. */
export const debiasedCka = (k: Float64Array, l: Float64Array): Measure => (k.length < 16 ? null : normalised(unbiasedHsic, k, l));

function normalised(hsic: (k: Float64Array, l: Float64Array) => number, k: Float64Array, l: Float64Array): Measure {
  const [kk, ll] = [hsic(k, k), hsic(l, l)];
  return kk > 0 && ll > 0 ? Math.min(1, hsic(k, l) / Math.sqrt(kk * ll)) : null;
}

function product(k: Float64Array, l: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < k.length; i++) sum += (k[i] as number) * (l[i] as number);
  return sum;
}

/** Up to a factor that the ratio cancels: tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2 / (n-2) 1'KL1, with zero diagonals. */
function unbiasedHsic(k: Float64Array, l: Float64Array): number {
  const n = Math.sqrt(k.length);
  let [trace, totalK, totalL, chained] = [0, 0, 0, 0];
  for (let i = 0; i < n; i++) {
    let [rowK, rowL] = [0, 0];
    for (let j = 0; j < n; j++) {
      if (i === j) continue;
      const [a, b] = [k[i * n + j] as number, l[i * n + j] as number];
      trace += a * b;
      rowK += a;
      rowL += b;
    }
    totalK += rowK;
    totalL += rowL;
    chained += rowK * rowL;
  }
  return trace + (totalK * totalL) / ((n - 1) * (n - 2)) - (2 / (n - 2)) * chained;
}
