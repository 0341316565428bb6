// LoRA-Pro (Wang et al. 2024, 2407.18242): gradients of both factors of a LoRA, changed so that the step of their product comes nearest to the
// one that full fine-tuning would take. With plain gradient descent this is the paper's method; before another optimiser it is its gradient.
// The paper's form with AdamW takes the moments of the whole weight's gradient: loraProAdamW.
import { type SymmetricEigen, symmetricEigen } from "../../compute/linalg/symmetric-eigen.ts";
import { multiply, multiplyTransposed, timesTransposed } from "./matrix-products.ts";

export interface FactorPair {
  readonly r: number;
  readonly inputs: number;
  readonly outputs: number;
  /** A [r, inputs] */
  readonly a: ArrayLike<number>;
  /** B [outputs, r] */
  readonly b: ArrayLike<number>;
  /** The change of the weight is scale * B A. */
  readonly scale: number;
}

/** Keeps inverses finite where B is still zero. */
const DAMPING = 1e-8;

/** A pair in float64, and what its equations need of the factors alone. */
export interface SolvedPair extends FactorPair {
  readonly a: Float64Array;
  readonly b: Float64Array;
  /** Of A A^T and of B^T B, both [r, r]. */
  readonly eigenA: SymmetricEigen;
  readonly eigenB: SymmetricEigen;
  readonly inverseA: Float64Array;
  readonly inverseB: Float64Array;
}

export function solvePair(pair: FactorPair): SolvedPair {
  const { r, inputs, outputs } = pair;
  const [a, b] = [new Float64Array(pair.a), new Float64Array(pair.b)];
  const eigenA = symmetricEigen(timesTransposed(a, a, r, inputs, r), r);
  const eigenB = symmetricEigen(multiplyTransposed(b, b, outputs, r, r), r);
  return { ...pair, a, b, eigenA, eigenB, inverseA: inverse(eigenA, r), inverseB: inverse(eigenB, r) };
}

/** Replaces the gradients of A and B in place. */
export function loraProGradients(pair: FactorPair, gradA: Float32Array, gradB: Float32Array): void {
  nearestGradients(solvePair(pair), gradA, gradB);
}

/** The same of a pair that is solved already. */
export function nearestGradients(pair: SolvedPair, gradA: Float32Array, gradB: Float32Array): void {
  const { r, inputs, outputs, a, b, eigenA, eigenB } = pair;
  const { newA, newB } = nearestSteps(pair, gradA, gradB);
  // Of all pairs with the same effect the one nearest to the gradients: B^T B X + X A A^T = -(B^T B)^-1 g_A A^T / s^2.
  const right = timesTransposed(newA, a, r, inputs, r);
  for (let i = 0; i < right.length; i++) right[i] = -(right[i] as number);
  const x = solveSylvester(eigenB, eigenA, right, r);
  const [moveA, moveB] = [multiply(x, a, r, r, inputs), multiply(b, x, outputs, r, r)];
  for (let i = 0; i < gradA.length; i++) gradA[i] = (newA[i] as number) + (moveA[i] as number);
  for (let i = 0; i < gradB.length; i++) gradB[i] = (newB[i] as number) - (moveB[i] as number);
}

/** Steps of the factors whose product s B a + s b A moves nearest to the full gradient; one pair of many. */
export function nearestSteps(pair: SolvedPair, gradA: Float32Array, gradB: Float32Array): { readonly newA: Float64Array; readonly newB: Float64Array } {
  const { r, inputs, outputs, b, scale, inverseA, inverseB } = pair;
  const [gA, gB] = [new Float64Array(gradA), new Float64Array(gradB)];
  const share = 1 / scale ** 2;
  // a = (B^T B)^-1 g_A / s^2
  const newA = multiply(inverseB, gA, r, r, inputs);
  for (let i = 0; i < newA.length; i++) newA[i] = (newA[i] as number) * share;
  // b = (I - B (B^T B)^-1 B^T) g_B (A A^T)^-1 / s^2
  const within = multiply(b, multiply(inverseB, multiplyTransposed(b, gB, outputs, r, r), r, r, r), outputs, r, r);
  for (let i = 0; i < gB.length; i++) gB[i] = share * ((gB[i] as number) - (within[i] as number));
  return { newA, newB: multiply(gB, inverseA, outputs, r, r) };
}

/** U (L + damping)^-1 U^T */
function inverse({ values, vectors }: SymmetricEigen, r: number): Float64Array {
  const out = new Float64Array(r * r);
  for (let k = 0; k < r; k++) {
    const factor = 1 / (Math.max(0, values[k] as number) + DAMPING);
    for (let i = 0; i < r; i++)
      for (let j = 0; j < r; j++) out[i * r + j] = (out[i * r + j] as number) + factor * (vectors[k * r + i] as number) * (vectors[k * r + j] as number);
  }
  return out;
}

/** X of (U L U^T) X + X (V M V^T) = C */
function solveSylvester(left: SymmetricEigen, right: SymmetricEigen, c: Float64Array, r: number): Float64Array {
  const inside = timesTransposed(multiply(left.vectors, c, r, r, r), right.vectors, r, r, r);
  for (let i = 0; i < r; i++)
    for (let j = 0; j < r; j++) inside[i * r + j] = (inside[i * r + j] as number) / ((left.values[i] as number) + (right.values[j] as number) + DAMPING);
  return multiplyTransposed(left.vectors, multiply(inside, right.vectors, r, r, r), r, r, r);
}
