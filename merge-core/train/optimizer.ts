// AdamW (Loshchilov & Hutter 2019, 1711.05101) on a model's tensors, outside the graph and in place.
import * as tf from "@tensorflow/tfjs-core";
import { adamwOnArrays, adamwStep, sumSquares } from "../compute/adamw.ts";
import { allLiveValues, liveValues, sharedBackendOrDevice } from "../nn/storage.ts";
import type { OptimizerSettings } from "./optimizer-config.ts";

type Parameters = ReadonlyMap<string, tf.Tensor>;

/** Running means of gradients and squared gradients, by parameter name. */
export interface AdamState {
  readonly m: Parameters;
  readonly v: Parameters;
}

export function createAdamState(parameters: Parameters): AdamState {
  const zeros = () => new Map([...parameters].map(([name, tensor]) => [name, tf.zerosLike(tensor)]));
  return { m: zeros(), v: zeros() };
}

export function disposeAdamState({ m, v }: AdamState): void {
  tf.dispose([...m.values(), ...v.values()]);
}

/** Euclidean norm of all gradients together, summed in float64. */
export function globalNorm(gradients: Parameters): number {
  const backend = sharedBackendOrDevice();
  if (backend === undefined) return Math.sqrt(allLiveValues([...gradients.values()]).reduce((sum, values) => sum + squares(values), 0));
  let sum = 0;
  for (const tensor of gradients.values()) sum += sumSquares(backend.pool, backend.address(tensor), tensor.size);
  return Math.sqrt(sum);
}

/**
 * Step number `step` (from 1). Gradients are multiplied by `gradientScale` first. Weight decay applies to matrices only:
 * decaying norms and biases towards zero regularises nothing. A parameter without gradient stays.
 */
export function adamW(
  parameters: Parameters,
  gradients: Parameters,
  state: AdamState,
  settings: OptimizerSettings & {
    readonly step: number;
    readonly gradientScale: number;
    /** A parameter's learning rate as a multiple of `lr`. */
    readonly rateOf?: (name: string) => number;
  },
): void {
  const { lr, betas, eps, step, gradientScale: gradScale } = settings;
  const [beta1, beta2] = betas;
  const backend = sharedBackendOrDevice();
  for (const [name, parameter] of parameters) {
    const tensors = [parameter, gradients.get(name), state.m.get(name), state.v.get(name)];
    if (!tensors.every((tensor) => tensor !== undefined)) continue;
    const weightDecay = parameter.rank > 1 ? settings.weightDecay : 0;
    const numbers = { lr: lr * (settings.rateOf?.(name) ?? 1), beta1, beta2, eps, weightDecay, step, gradScale };
    if (backend === undefined) {
      const [param, grad, m, v] = tensors.map(liveValues) as [Float32Array, Float32Array, Float32Array, Float32Array];
      adamwOnArrays({ param, grad, m, v }, numbers);
      continue;
    }
    const [param = 0, grad = 0, m = 0, v = 0] = tensors.map((tensor) => backend.address(tensor));
    adamwStep(backend.pool, { param, grad, m, v, size: parameter.size }, numbers);
  }
}

const squares = (values: Float32Array): number => values.reduce((sum, x) => sum + x * x, 0);
