// Which tensors a run changes: all weights of the model, or those of an adapter beside frozen weights. Node only.
import { relative } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import type { TokenRow } from "../nn/data.ts";
import type { Decoder } from "../nn/llama.ts";
import { disposeDecoder } from "../nn/load.ts";
import type { Model } from "../nn/model.ts";
import { uniforms } from "../nn/random.ts";
import { saveModel } from "../nn/save.ts";
import type { TrainConfig } from "./config.ts";
import type { TrainingPass } from "./gradients.ts";

/** Where a pass of training stands. */
export interface TrainingStep {
  /** Names what is drawn for this pass and no other. */
  readonly name: string;
  /** Of the run, from 0 to 1. */
  readonly progress: number;
}

export type GradientOf = (parameter: string) => Float32Array | undefined;

export interface Trainable {
  /** The model, with what is trained of its own tensors in their place. */
  readonly decoder: Decoder;
  /** The tensors to change, in place; each lives until `dispose`. */
  readonly parameters: ReadonlyMap<string, tf.Tensor>;
  /** Numbers that steps change beside the parameters. */
  readonly memory?: ReadonlyMap<string, Float32Array>;
  /** The decoder for these rows; without a step, as it is used after training. */
  pass(rows: readonly TokenRow[], step?: TrainingStep): TrainingPass;
  /** A parameter's learning rate as a multiple of the run's. */
  rateOf?(name: string, progress: number): number;
  /** What the product of LoRA factors is multiplied by, where that is what is trained. */
  readonly factorScale?: number;
  /** After each step, from 1. @param gradientOf a parameter's, clipped, where the optimiser takes gradients */
  afterStep?(step: number, gradientOf?: GradientOf): void;
  /** After the last step, where something is left to choose. @param lossOf validation loss as things stand @returns that of the choice */
  choose?(lossOf: (() => Promise<number>) | undefined): Promise<number | undefined>;
  /** Writes what was learned. */
  save(folder: string): Promise<void>;
  dispose(): void;
}

export const fullTrainable = (model: Model, { dtype }: TrainConfig): Trainable => ({
  decoder: model.decoder,
  parameters: model.decoder.weights,
  pass: () => model.decoder,
  save: (folder) => saveModel(model, folder, dtype),
  dispose: () => disposeDecoder(model.decoder),
});

/** The model's path as PEFT will look it up: from the working folder where it lies below it, which moves with a project. */
export function baseName(model: string): string {
  const path = relative(process.cwd(), model);
  return path.startsWith("..") ? model : path;
}

/** Inverted dropout on the inputs of changes, a mask of its own for each module and pass. */
export function dropoutOf(dropout: number, seed: number, pass: string): Pick<Decoder, "dropout"> {
  if (dropout === 0) return {};
  const mask = (module: string, x: tf.Tensor2D) =>
    Float32Array.from(uniforms(seed, `dropout/${pass}/${module}`, x.size), (u) => (u < dropout ? 0 : 1 / (1 - dropout)));
  return { dropout: (module, x) => tf.mul(x, tf.tensor2d(mask(module, x), x.shape)) };
}
