// What singular values and vectors say: ranks, and how the leading directions of two matrices lie to each other.
import { rowProducts } from "../../compute/linalg/gram.ts";
import { dot, type Matrix, type MatrixSpace } from "../../compute/linalg/matrix.ts";
import { symmetricEigen } from "../../compute/linalg/symmetric-eigen.ts";
import type { Measure } from "../comparison.ts";
import { type Decomposition, leadingLeft } from "./decompose.ts";

/** exp of the entropy of the values' shares of their sum (Roy and Vetterli, 2007): n for n equal values. Null of a part or of nothing. */
export function effectiveRank({ values, complete }: Pick<Decomposition, "values" | "complete">): Measure {
  const sum = values.reduce((a, b) => a + b, 0);
  if (!complete || sum === 0) return null;
  return Math.exp(values.reduce((entropy, value) => entropy - (value / sum) * Math.log(value / sum), 0));
}

/** Squared Frobenius norm divided by the squared spectral norm (Rudelson and Vershynin, 2007). */
export const stableRank = ({ values, energy }: Pick<Decomposition, "values" | "energy">): Measure => (values[0] === undefined ? null : energy / values[0] ** 2);

/** Share of the norm that the leading directions may leave over. */
const RESIDUAL = 0.05;

/**
 * The least k for which the k leading directions leave at most 5 % of the Frobenius norm over (Marczak et al., 2025; their released script
 * keeps more than 95 % of the norm, which is a smaller k). Null if that many are not known.
 */
export function spanningRank({ values, energy, complete }: Pick<Decomposition, "values" | "energy" | "complete">): number | null {
  if (energy === 0) return null;
  let left = energy;
  for (const [i, value] of values.entries()) {
    left -= value ** 2;
    if (left <= RESIDUAL ** 2 * energy) return i + 1;
  }
  return complete ? values.length : null;
}

/** Norm of what of `a` lies in the span of b's `rank` leading left directions, divided by a's norm: SAR(a, b). */
export function alignment(space: MatrixSpace, a: Matrix, b: Decomposition, rank: number): Measure {
  const energy = dot(a.data, a.data);
  if (energy === 0) return null;
  const projected = space.product(leadingLeft(b, rank), a);
  const share = Math.sqrt(dot(projected.data, projected.data) / energy);
  space.free(projected);
  return Math.min(1, share);
}

/**
 * Principal angles in degrees, rising, between the spans of orthonormal rows; as many as the smaller span has rows. Cosines alone
 * lose small angles, so sines are computed too (Björck and Golub, 1973).
 */
export function principalAngles(a: Matrix, b: Matrix): number[] {
  const [few, many] = a.rows <= b.rows ? [a, b] : [b, a];
  const [p, q, n] = [few.rows, many.rows, few.columns];
  if (p === 0) return [];
  const [x, y] = [Float64Array.from(few.data), Float64Array.from(many.data)];
  const cosines = rowProducts(x, p, y, q, n);
  const rest = x.slice();
  for (let i = 0; i < p; i++)
    for (let j = 0; j < q; j++) {
      const factor = cosines[i * q + j] as number;
      for (let k = 0; k < n; k++) rest[i * n + k] = (rest[i * n + k] as number) - factor * (y[j * n + k] as number);
    }
  const squares = (rows: Float64Array, columns: number) => symmetricEigen(rowProducts(rows, p, rows, p, columns), p).values;
  const sines = squares(rest, n).reverse();
  const root = (square: number | undefined) => Math.sqrt(Math.max(0, square ?? 0));
  return Array.from(squares(cosines, q), (cosine, i) => (Math.atan2(root(sines[i]), root(cosine)) * 180) / Math.PI);
}

/** Mean squared cosine of the angles, ||U_a^T U_b||_F^2 / min(p, q): phi of the LoRA paper (Hu et al., 2021). */
export const overlapOf = (angles: readonly number[]): Measure =>
  angles.length === 0 ? null : angles.reduce((sum, angle) => sum + Math.cos((angle * Math.PI) / 180) ** 2, 0) / angles.length;
