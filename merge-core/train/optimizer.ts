// AdamW (Loshchilov & Hutter 2019, 1711.05101), outside the graph and in place.
import type * as tf from "@tensorflow/tfjs-core";
import { liveValues } from "../nn/storage.ts";
import type { OptimizerSettings } from "./config.ts";

/** Running means of gradients and squared gradients, by parameter name. */
export interface AdamState {
  readonly m: ReadonlyMap<string, Float32Array>;
  readonly v: ReadonlyMap<string, Float32Array>;
}

type Parameters = ReadonlyMap<string, tf.Tensor>;

export function createAdamState(parameters: Parameters): AdamState {
  const zeros = () => new Map([...parameters].map(([name, tensor]) => [name, new Float32Array(tensor.size)]));
  return { m: zeros(), v: zeros() };
}

/** Euclidean norm of all gradients together, summed in float64. */
export function globalNorm(gradients: Parameters): number {
  let sum = 0;
  for (const tensor of gradients.values()) for (const g of liveValues(tensor)) sum += g * g;
  return Math.sqrt(sum);
}

/**
 * Step number `step` (from 1). Gradients are multiplied by `gradientScale` first. Weight decay applies to matrices only:
 * decaying norms and biases towards zero regularises nothing.
 */
export function adamW(
  parameters: Parameters,
  gradients: Parameters,
  state: AdamState,
  settings: OptimizerSettings & { readonly step: number; readonly gradientScale: number },
): void {
  const { lr, betas, eps, weightDecay, step, gradientScale } = settings;
  const [beta1, beta2] = betas;
  const meanCorrection = 1 - beta1 ** step;
  const squareCorrection = Math.sqrt(1 - beta2 ** step);
  for (const [name, parameter] of parameters) {
    const p = liveValues(parameter);
    const gradient = gradients.get(name);
    if (gradient === undefined) continue;
    const g = liveValues(gradient);
    const m = state.m.get(name) ?? new Float32Array(p.length);
    const v = state.v.get(name) ?? new Float32Array(p.length);
    const decay = parameter.rank > 1 ? 1 - lr * weightDecay : 1;
    for (let i = 0; i < p.length; i++) {
      const slope = g[i]! * gradientScale;
      m[i] = beta1 * m[i]! + (1 - beta1) * slope;
      v[i] = beta2 * v[i]! + (1 - beta2) * slope * slope;
      p[i] = p[i]! * decay - (lr / meanCorrection) * (m[i]! / (Math.sqrt(v[i]!) / squareCorrection + eps));
    }
  }
}
