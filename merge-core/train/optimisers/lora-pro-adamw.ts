// LoRA-Pro with AdamW (Wang et al. 2024, 2407.18242, algorithm 2): the moments are those of the gradient of the whole weight, as far as the
// factors can follow it, and the factors then follow Adam's direction. Two numbers of the weight's size are kept, as by full fine-tuning.
import { adamDirection, type Betas } from "./adam-direction.ts";
import { equivalentGradient, type FactorPair, factorGradients, loraProGradients } from "./lora-pro.ts";

export interface FullMoments {
  /** Both [outputs, inputs]. */
  readonly m: Float32Array;
  readonly v: Float32Array;
}

/** Replaces the gradients of A and B by the directions to step against. @param step from 1 */
export function loraProAdamW(pair: FactorPair, gradA: Float32Array, gradB: Float32Array, { m, v }: FullMoments, step: number, settings: Betas): void {
  const direction = adamDirection(equivalentGradient(pair, gradA, gradB), m, v, step, settings);
  const followed = factorGradients(pair, direction);
  gradA.set(followed.gradA);
  gradB.set(followed.gradB);
  loraProGradients(pair, gradA, gradB);
}
