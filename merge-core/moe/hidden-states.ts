// What enters each layer of a model for some texts, with one layer of weights in memory at a time. Node only.
import * as tf from "@tensorflow/tfjs-core";
import { openFile } from "../bytes/file-source.ts";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { DTYPE_BYTES, isFloat } from "../formats/dtypes.ts";
import { type DecoderConfig, parseDecoderConfig } from "../nn/config.ts";
import { causalAttend, decoderBlock, weightShapes } from "../nn/llama.ts";
import { ropeTable } from "../nn/rope.ts";

export const EMBEDDING = "model.embed_tokens.weight";

/** Rows `first` to `first + count` of a tensor as float32. @throws WeightsmithError `tensor-not-float` */
async function readRows(entry: TensorEntry, first: number, count: number): Promise<Float32Array> {
  if (!isFloat(entry.dtype)) throw inputError("tensor-not-float", `tensor ${entry.name} cannot be computed with`, { file: entry.file, found: entry.dtype });
  const rowBytes = entry.shape.slice(1).reduce((a, b) => a * b, 1) * DTYPE_BYTES[entry.dtype];
  const source = await openFile(entry.file);
  try {
    return widenToFloat32(entry.dtype, await source.read(entry.offset + first * rowBytes, count * rowBytes));
  } finally {
    await source.close();
  }
}

function tensorOf(checkpoint: Checkpoint, name: string): TensorEntry {
  const entry = checkpoint.tensors.get(name);
  if (entry === undefined) throw inputError("tensor-missing", `the model has no tensor ${name}`, { file: checkpoint.path });
  return entry;
}

/** Embeddings of one sequence, [tokens, hidden]; only their rows are read. @throws WeightsmithError `index-out-of-range` */
export async function readEmbeddings(checkpoint: Checkpoint, ids: readonly number[]): Promise<Float32Array> {
  const entry = tensorOf(checkpoint, EMBEDDING);
  const [rows = 0, width = 0] = entry.shape;
  const out = new Float32Array(ids.length * width);
  for (const [i, id] of ids.entries()) {
    if (id >= rows) {
      const found = `token ${id}`;
      throw inputError("index-out-of-range", "the tokenizer gives tokens that the model has no embedding for", {
        file: checkpoint.path,
        found,
        expected: `below ${rows}`,
      });
    }
    out.set(await readRows(entry, id, 1), i * width);
  }
  return out;
}

export interface HiddenStatesOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onLayer?: (done: number, total: number) => void;
}

/**
 * Calls `take` with the input of each layer, [tokens, hidden] of each sequence, layer by layer. The tfjs backend must be there.
 * @throws WeightsmithError `unsupported-architecture`, `unsupported-config`, `tensor-missing`, `tensor-shape-mismatch`, `cancelled`
 */
export async function eachLayerInput(
  checkpoint: Checkpoint,
  sequences: readonly (readonly number[])[],
  take: (layer: number, sequence: number, states: Float32Array) => void,
  { signal, onLayer }: HiddenStatesOptions = {},
): Promise<void> {
  const config = parseDecoderConfig(checkpoint.config ?? {}, checkpoint.path);
  const shapes = weightShapes(config);
  const states: Float32Array[] = [];
  for (const ids of sequences) states.push(await readEmbeddings(checkpoint, ids));
  for (let layer = 0; layer < config.layers; layer++) {
    throwIfCancelled(signal);
    for (const [i, x] of states.entries()) take(layer, i, x);
    onLayer?.(layer + 1, config.layers);
    // What the last layer gives is no layer's input.
    if (layer + 1 === config.layers) return;
    const names = [...shapes.keys()].filter((name) => name.startsWith(`model.layers.${layer}.`));
    const weights = new Map<string, tf.Tensor>();
    try {
      for (const name of names) weights.set(name, await readWeight(checkpoint, name, shapes.get(name) ?? []));
      for (const [i, x] of states.entries()) states[i] = runLayer(config, weights, layer, x);
    } finally {
      tf.dispose([...weights.values()]);
    }
  }
}

async function readWeight(checkpoint: Checkpoint, name: string, shape: readonly number[]): Promise<tf.Tensor> {
  const entry = tensorOf(checkpoint, name);
  if (entry.shape.join() !== shape.join())
    throw inputError("tensor-shape-mismatch", `tensor ${name} does not have the shape that config.json implies`, {
      file: checkpoint.path,
      found: `[${entry.shape.join(", ")}]`,
      expected: `[${shape.join(", ")}]`,
    });
  return tf.tensor(await readRows(entry, 0, entry.shape[0] ?? 1), [...shape], "float32");
}

function runLayer(config: DecoderConfig, weights: ReadonlyMap<string, tf.Tensor>, layer: number, x: Float32Array): Float32Array {
  const positions = x.length / config.hiddenSize;
  return tf.tidy(() => {
    const attend = causalAttend(config, ropeTable(config, positions), 1, positions);
    const y = decoderBlock({ config, weights }, layer, tf.tensor2d(x, [positions, config.hiddenSize]), attend);
    return y.dataSync<"float32">().slice();
  });
}
