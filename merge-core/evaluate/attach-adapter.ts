// A trained adapter beside a decoder in memory: the way to run the families that no weights can take the place of. Node only.
import * as tf from "@tensorflow/tfjs-core";
import { checkShapes } from "../adapters/adapted-by-family.ts";
import type { ModuleTensor } from "../adapters/family.ts";
import type { Part } from "../adapters/family-math.ts";
import { type AdapterFile, moduleSettings, readAdapter, sharedEntries } from "../adapters/read-adapter.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import { adaptedLayers } from "../nn/adapted-layer.ts";
import type { TokenRow } from "../nn/data.ts";
import type { Decoder } from "../nn/llama.ts";
import { liveValues } from "../nn/storage.ts";

export interface AttachedAdapter {
  /** The decoder for these rows, whose tasks may differ. */
  decoderOf(rows: readonly TokenRow[]): Decoder;
  /** Leaves the decoder that it was attached to as it was. */
  dispose(): void;
}

/** @throws WeightsmithError `adapter-*` */
export async function attachAdapter(decoder: Decoder, folder: string, options: { readonly signal?: AbortSignal } = {}): Promise<AttachedAdapter> {
  const adapter = await readAdapter(folder, options);
  const reader = new TensorReader();
  const numbers = (entry: TensorEntry) => reader.read(entry);
  const parts = new Map<string, Part<tf.Tensor>>();
  const replaced = new Map<string, tf.Tensor>();
  try {
    for (const [module, entries] of adapter.modules)
      parts.set(module, await partOf(decoder, adapter, module, { ...sharedEntries(adapter, module), ...entries }, numbers));
    for (const [name, entry] of adapter.replacements) replaced.set(name, tf.tensor(Float32Array.from(await numbers(entry)), [...entry.shape]));
  } finally {
    await reader.close();
  }
  const weights = new Map([...decoder.weights].map(([name, tensor]) => [name, replaced.get(name) ?? tensor]));
  return {
    decoderOf: (rows) => ({
      ...decoder,
      weights,
      ...(parts.size === 0 ? {} : { adapted: adaptedLayers(adapter.family, parts, { tasks: tasksOfPositions(rows) }) }),
    }),
    dispose: () => tf.dispose([...[...parts.values()].flatMap(({ tensors }) => Object.values(tensors)), ...replaced.values()]),
  };
}

/** Of each position of the rows, padded to the longest. */
export function tasksOfPositions(rows: readonly TokenRow[]): Int32Array {
  const seq = Math.max(1, ...rows.map(({ tokens }) => tokens.length - 1));
  return Int32Array.from({ length: rows.length * seq }, (_, at) => rows[Math.floor(at / seq)]?.task ?? 0);
}

async function partOf(
  decoder: Decoder,
  adapter: AdapterFile,
  module: string,
  entries: Readonly<Record<string, TensorEntry>>,
  numbers: (entry: TensorEntry) => Promise<ArrayLike<number>>,
): Promise<Part<tf.Tensor>> {
  const { family, file } = adapter;
  const weight = decoder.weights.get(`${module}.weight`);
  if (weight === undefined) {
    const near = nearestName(`${module}.weight`, decoder.weights.keys());
    throw inputError("adapter-target-missing", `the model has no ${module}.weight that the adapter could change`, {
      file,
      ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
    });
  }
  const [outFeatures = 0, inFeatures = 0] = weight.shape;
  const layer = { inFeatures, outFeatures };
  const settings = moduleSettings(adapter, module);
  checkShapes(adapter, module, layer, entries);
  const held = await Promise.all(
    Object.entries(entries).map(async ([name, entry]): Promise<[string, ModuleTensor]> => [name, { shape: entry.shape, values: await numbers(entry) }]),
  );
  const all = [...held, ...Object.entries(family.derive?.(liveValues(weight), layer, settings) ?? {})];
  const isIndex = new Set([...family.tensors, ...family.shared].filter(({ index }) => index === true).map(({ name }) => name));
  return {
    layer,
    settings,
    module,
    tensors: Object.fromEntries(
      all.filter(([name]) => !isIndex.has(name)).map(([name, { shape, values }]) => [name, tf.tensor(Float32Array.from(values), [...shape])]),
    ),
    indices: Object.fromEntries(all.filter(([name]) => isIndex.has(name)).map(([name, { values }]) => [name, values])),
  };
}
