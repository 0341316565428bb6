// LoRA-Pro with AdamW (Wang et al. 2024, 2407.18242, algorithm 2): the moments are those of the gradient of the whole weight, as far as the
// factors can follow it, and the factors then follow Adam's direction. Two numbers of the weight's size are kept, as by full fine-tuning;
// gradient and direction of that size are only ever there for a few rows.
import { adamDirection, type Betas } from "./adam-direction.ts";
import { type FactorPair, nearestGradients, nearestSteps, type SolvedPair, solvePair } from "./lora-pro.ts";
import { addProduct, addTransposedProduct, timesTransposed } from "./matrix-products.ts";

export interface FullMoments {
  /** Both [outputs, inputs]. */
  readonly m: Float32Array;
  readonly v: Float32Array;
}

/** Rows of the weight that are gone through together. */
const BLOCK = 32;

/** Replaces the gradients of A and B by the directions to step against. @param step from 1 */
export function loraProAdamW(pair: FactorPair, gradA: Float32Array, gradB: Float32Array, moments: FullMoments, step: number, settings: Betas): void {
  const solved = solvePair(pair);
  followDirection(solved, gradA, gradB, (gradient, first, count) => {
    const [m, v] = [moments.m, moments.v].map((moment) => moment.subarray(first, first + count)) as [Float32Array, Float32Array];
    adamDirection(gradient, m, v, step, settings, gradient);
  });
  nearestGradients(solved, gradA, gradB);
}

/**
 * Turns the gradient of the whole weight, s B a + s b A as far as factors can follow it, to a direction G, and replaces the gradients of
 * the factors by those of G: s B^T G and s G A^T.
 * @param turn changes some of the gradient in place, `count` numbers of it from `first` on
 */
function followDirection(
  pair: SolvedPair,
  gradA: Float32Array,
  gradB: Float32Array,
  turn: (gradient: Float32Array, first: number, count: number) => void,
): void {
  const { r, inputs, outputs, a, b, scale } = pair;
  const { newA, newB } = nearestSteps(pair, gradA, gradB);
  const sumA = new Float64Array(r * inputs);
  const [left, right] = [new Float64Array(BLOCK * inputs), new Float64Array(BLOCK * inputs)];
  const block = new Float32Array(BLOCK * inputs);
  for (let row = 0; row < outputs; row += BLOCK) {
    const rows = Math.min(BLOCK, outputs - row);
    const count = rows * inputs;
    left.fill(0);
    right.fill(0);
    addProduct(left, b, newA, rows, r, inputs, row);
    addProduct(right, newB, a, rows, r, inputs, row);
    for (let i = 0; i < count; i++) block[i] = scale * ((left[i] as number) + (right[i] as number));
    const gradient = block.subarray(0, count);
    turn(gradient, row * inputs, count);
    left.set(gradient);
    addTransposedProduct(sumA, b, left, rows, r, inputs, row);
    const sumB = timesTransposed(left, a, rows, inputs, r);
    for (let i = 0; i < sumB.length; i++) gradB[row * r + i] = scale * (sumB[i] as number);
  }
  for (let i = 0; i < sumA.length; i++) gradA[i] = scale * (sumA[i] as number);
}
