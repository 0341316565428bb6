// A model folder ready to use: decoder, tokenizer and the files beside them. Node only.
import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { openError, openFile } from "../bytes/file-source.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { inputError } from "../diagnostics.ts";
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import { elementCount } from "../formats/dtypes.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";
import { type DecoderConfig, parseDecoderConfig } from "./config.ts";
import { isTransposed } from "./gpt2.ts";
import { type Decoder, weightShapes } from "./llama.ts";
import { createDecoder, type DecoderOptions, type TensorData } from "./load.ts";
import { normals } from "./random.ts";
import { readTextCodec, type TextCodec } from "./tokenizer.ts";

export interface Model {
  /** Where config, tokenizer and side files lie. */
  readonly folder: string;
  /** config.json as it stands, unknown keys included. */
  readonly configJson: Readonly<Record<string, unknown>>;
  readonly decoder: Decoder;
  readonly codec: TextCodec;
}

interface LoadOptions extends DecoderOptions {
  readonly signal?: AbortSignal;
}

/** Loads a checkpoint for running. The caller disposes `decoder`. */
export async function loadModel(path: string, options: LoadOptions = {}): Promise<Model> {
  const checkpoint = await openCheckpoint(path, options);
  return modelFromTensors(checkpoint.folder, await readTensors(checkpoint, options), options);
}

/** A model whose tensors are already in memory (a merge, a random start), with the config and tokenizer of `folder`. */
export async function modelFromTensors(folder: string, tensors: ReadonlyMap<string, TensorData>, options: DecoderOptions = {}): Promise<Model> {
  const { configJson, config } = await readConfig(folder);
  const codec = await readTextCodec(folder);
  return { folder, configJson, decoder: createDecoder(config, tensors, folder, options), codec };
}

/** Config and tokenizer of `folder` with fresh weights: norms 1, biases 0, the rest normal with the config's initializer_range. */
export async function randomModel(folder: string, seed: number): Promise<Model> {
  const { config } = await readConfig(folder);
  return modelFromTensors(folder, randomTensors(config, seed));
}

/** What config.json says of the architecture. */
export const readDecoderConfig = async (folder: string): Promise<DecoderConfig> => (await readConfig(folder)).config;

/** @throws WeightsmithError `file-missing`, `json-*`, `config-invalid`, and what parseDecoderConfig throws */
async function readConfig(folder: string): Promise<{ configJson: Record<string, unknown>; config: DecoderConfig }> {
  const file = join(folder, "config.json");
  const bytes = await readFile(file).catch((error: unknown) => {
    throw openError(file, error);
  });
  const configJson = parseJsonBytes(bytes, file, { maxBytes: 10_000_000, maxDepth: 64, nonFinite: true });
  if (!isRecord(configJson)) throw inputError("config-invalid", "config.json is not an object", { file });
  return { configJson, config: parseDecoderConfig(configJson, file) };
}

/** The bytes of all tensors, each shard opened once. */
export async function readTensors(checkpoint: Checkpoint, options: LoadOptions = {}): Promise<Map<string, TensorData>> {
  const tensors = new Map<string, TensorData>();
  for (const shard of checkpoint.shards) {
    const source = await openFile(shard.file, relative(process.cwd(), shard.file));
    try {
      for (const { name, dtype, shape, offset, byteLength } of [...checkpoint.tensors.values()].filter((tensor) => tensor.file === shard.file))
        tensors.set(name, { dtype, shape, data: await source.read(offset, byteLength, options) });
    } finally {
      await source.close();
    }
  }
  return tensors;
}

function randomTensors(config: DecoderConfig, seed: number): Map<string, TensorData> {
  const draw = (name: string, size: number) => {
    if (name.endsWith(".bias")) return new Float32Array(size);
    if (/(norm|\.ln_[12f])\.weight$/.test(name)) return new Float32Array(size).fill(1);
    return normals(seed, name, size).map((x) => x * config.initializerRange);
  };
  const entries = [...weightShapes(config)].map(([name, shape]) => {
    const data = narrowFromFloat32("F32", draw(name, elementCount(shape)));
    return [name, { dtype: "F32", shape: isTransposed(config, name) ? shape.toReversed() : shape, data } satisfies TensorData] as const;
  });
  return new Map(entries);
}
