// What a run asks of its optimiser.
import type * as tf from "@tensorflow/tfjs-core";
import type { StateArray } from "./optimisers/rule.ts";

type Tensors = ReadonlyMap<string, tf.Tensor>;

export interface OptimizerStep {
  readonly lr: number;
  /** From 1. */
  readonly step: number;
  /** Gradients are multiplied by this first. */
  readonly gradientScale: number;
  /** A parameter's learning rate as a multiple of `lr`. */
  readonly rateOf: (name: string) => number;
}

export interface Optimizer {
  /** Everything that it keeps between steps, by names of its own; the arrays are the live ones. */
  readonly state: ReadonlyMap<string, StateArray>;
  step(gradients: Tensors, at: OptimizerStep): void;
  dispose(): void;
}
