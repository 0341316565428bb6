// Which tensors a run changes: all weights of the model, or low-rank factors beside frozen weights. Node only.
import { relative } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import type { LoraAdapter } from "../adapters/lora.ts";
import { writePeftLora } from "../adapters/peft-lora.ts";
import { type Decoder, type LowRank, modulePath } from "../nn/llama.ts";
import type { Model } from "../nn/model.ts";
import { uniforms } from "../nn/random.ts";
import { saveModel } from "../nn/save.ts";
import { liveValues } from "../nn/storage.ts";
import type { LoraSettings, TrainConfig } from "./config.ts";

export interface Trainable {
  /** The model to run. */
  readonly decoder: Decoder;
  /** The tensors to change, in place; each lives as long as the decoder. */
  readonly parameters: ReadonlyMap<string, tf.Tensor>;
  /** Writes what was learned. */
  save(folder: string): Promise<void>;
}

export function makeTrainable(model: Model, config: TrainConfig): Trainable {
  const { method, dtype } = config;
  if (method.kind === "full") return { decoder: model.decoder, parameters: model.decoder.weights, save: (folder) => saveModel(model, folder, dtype) };
  const lora = initLora(model.decoder, method, config.seed);
  const parameters = new Map(
    [...lora].flatMap(([module, { a, b }]): [string, tf.Tensor][] => [
      [`${module}.lora_A.weight`, a],
      [`${module}.lora_B.weight`, b],
    ]),
  );
  return {
    decoder: { ...model.decoder, lora },
    parameters,
    save: (folder) => writePeftLora(toAdapter(lora, method, baseName(config.model)), folder, dtype),
  };
}

/** A from Kaiming's uniform distribution with a = sqrt(5), which is +-1/sqrt(in); B zero, so that training starts at the base model. */
function initLora(decoder: Decoder, settings: LoraSettings, seed: number): Map<string, LowRank> {
  const modules = Array.from({ length: decoder.config.layers }, (_, layer) => settings.targetModules.map((target) => modulePath(layer, target))).flat();
  return new Map(
    modules.map((module) => {
      const [outFeatures = 0, inFeatures = 0] = decoder.weights.get(`${module}.weight`)?.shape ?? [];
      const bound = 1 / Math.sqrt(inFeatures);
      const a = Float32Array.from(uniforms(seed, `lora/${module}`, settings.r * inFeatures), (u) => (2 * u - 1) * bound);
      const factors = {
        a: tf.tensor2d(a, [settings.r, inFeatures]),
        b: tf.tensor2d(new Float32Array(outFeatures * settings.r), [outFeatures, settings.r]),
        scale: settings.alpha / settings.r,
      };
      return [module, factors];
    }),
  );
}

/** The model's path as PEFT will look it up: from the working folder where it lies below it, which moves with a project. */
function baseName(model: string): string {
  const path = relative(process.cwd(), model);
  return path.startsWith("..") ? model : path;
}

function toAdapter(lora: ReadonlyMap<string, LowRank>, { r, alpha, dropout, targetModules }: LoraSettings, baseModel: string): LoraAdapter {
  const modules = [...lora].map(([module, { a, b, scale }]) => {
    const factors = { r, inFeatures: a.shape[1], outFeatures: b.shape[0], a: liveValues(a), b: liveValues(b), scale };
    return [module, factors] as const;
  });
  return { r, alpha, dropout, targetModules, baseModel, modules: new Map(modules) };
}

/** The decoder of one forward pass of training: with inverted dropout on the low-rank inputs, a mask of its own for each module and pass. */
export function withDropout(decoder: Decoder, method: TrainConfig["method"], seed: number, pass: string): Decoder {
  if (method.kind === "full" || method.dropout === 0) return decoder;
  const { dropout } = method;
  const mask = (module: string, x: tf.Tensor2D) =>
    Float32Array.from(uniforms(seed, `dropout/${pass}/${module}`, x.size), (u) => (u < dropout ? 0 : 1 / (1 - dropout)));
  return { ...decoder, dropout: (module, x) => tf.mul(x, tf.tensor2d(mask(module, x), x.shape)) };
}
