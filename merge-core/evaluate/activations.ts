// What the layers of models put out on the same tokens. Node only.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { initBackend } from "../nn/backend.ts";
import type { DecoderConfig } from "../nn/config.ts";
import { DEFAULT_MAX_LENGTH, readExamples, type TokenRow, tokenize } from "../nn/data.ts";
import { causalAttend, type Decoder, hiddenStates } from "../nn/llama.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model } from "../nn/model.ts";
import { ropeTable } from "../nn/rope.ts";

export interface ActivationOptions {
  /** Token positions to take, from the first on. */
  readonly positions: number;
  readonly memoryBytes: number;
  readonly threads: number;
  readonly signal?: AbortSignal;
  /** Rows run through models, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Activations {
  /** The residual stream after the embedding and after each layer, in order. */
  readonly layers: readonly string[];
  readonly positions: number;
  /** By model and layer, [positions, width] row by row. */
  readonly values: readonly (readonly Float32Array[])[];
}

/**
 * Of every model on the tokens that the first one's tokenizer makes of the examples, one model in memory at a time.
 * @throws WeightsmithError `data-*`, `memory-budget`, `vocabulary-differs`, what loading a model throws, `cancelled`
 */
export async function layerActivations(models: readonly string[], data: readonly string[], options: ActivationOptions): Promise<Activations> {
  const { signal, threads } = options;
  await initBackend({ threads });
  const examples = (await Promise.all(data.map((file) => readExamples(file)))).flat();
  const signalled = signal === undefined ? {} : { signal };
  const values: Float32Array[][] = [];
  let rows: TokenRow[] | undefined;
  let config: DecoderConfig | undefined;
  for (const [index, path] of models.entries()) {
    throwIfCancelled(signal);
    const model = await loadModel(path, signalled);
    try {
      config ??= model.decoder.config;
      rows ??= firstPositions(tokensOf(model, examples), options.positions);
      check(model, path, config, rows, models.length, options, data);
      const count = rows.length;
      values.push(await activationsOf(model.decoder, rows, signal, (done) => options.onProgress?.(index * count + done, models.length * count)));
    } finally {
      disposeDecoder(model.decoder);
    }
  }
  return { layers: config === undefined ? [] : layerNames(config), positions: positionsOf(rows ?? []), values };
}

const tokensOf = ({ codec, decoder: { config } }: Model, examples: Awaited<ReturnType<typeof readExamples>>): TokenRow[] =>
  examples.flatMap((example) => tokenize(example, codec, config.eosTokenIds[0], Math.min(config.maxPositions, DEFAULT_MAX_LENGTH)));

const positionsOf = (rows: readonly TokenRow[]): number => rows.reduce((sum, { tokens }) => sum + tokens.length, 0);

/** Whole rows, and of the last one its beginning. */
function firstPositions(rows: readonly TokenRow[], positions: number): TokenRow[] {
  let left = positions;
  return rows.flatMap((row) => {
    const tokens = row.tokens.slice(0, Math.max(0, left));
    left -= tokens.length;
    return tokens.length === 0 ? [] : [{ ...row, tokens }];
  });
}

function check(
  { decoder: { config } }: Model,
  path: string,
  first: DecoderConfig,
  rows: readonly TokenRow[],
  models: number,
  { memoryBytes }: ActivationOptions,
  data: readonly string[],
): void {
  if (rows.length === 0) throw inputError("data-no-tokens", "the data gives no tokens", { file: data.join(", "), remedy: "check data and tokenizer" });
  if (config.vocabSize !== first.vocabSize)
    throw inputError("vocabulary-differs", "the models do not read the same tokens", {
      file: path,
      found: String(config.vocabSize),
      expected: String(first.vocabSize),
    });
  const needed = models * layerNames(config).length * positionsOf(rows) * config.hiddenSize * 4;
  if (needed > memoryBytes)
    throw inputError("memory-budget", "the activations do not fit the memory budget", {
      found: `${Math.ceil(needed / 2 ** 20)} MiB`,
      expected: `at most ${Math.floor(memoryBytes / 2 ** 20)} MiB`,
      remedy: "ask for fewer --positions, or give more --memory",
    });
}

const stackOf = ({ modelType }: DecoderConfig): string => (modelType === "gpt2" ? "transformer.h" : "model.layers");
const layerNames = (config: DecoderConfig): string[] => ["embedding", ...Array.from({ length: config.layers }, (_, i) => `${stackOf(config)}.${i}`)];

/** Norms whose inputs are the residual stream: the first of each layer, and the last of all. */
function streamNorms(config: DecoderConfig): string[] {
  const isGpt2 = config.modelType === "gpt2";
  const norms = Array.from({ length: config.layers }, (_, i) => `${stackOf(config)}.${i}.${isGpt2 ? "ln_1" : "input_layernorm"}.weight`);
  return [...norms, isGpt2 ? "transformer.ln_f.weight" : "model.norm.weight"];
}

/** A sequence at a time, so that there is no padding to leave out. */
async function activationsOf(
  model: Decoder,
  rows: readonly TokenRow[],
  signal: AbortSignal | undefined,
  onRow: (done: number) => void,
): Promise<Float32Array[]> {
  const norms = streamNorms(model.config);
  const width = model.config.hiddenSize;
  const values = norms.map(() => new Float32Array(positionsOf(rows) * width));
  let place = 0;
  for (const [done, { tokens }] of rows.entries()) {
    await setImmediate();
    throwIfCancelled(signal);
    const watch = (name: string, y: tf.Tensor2D, x: tf.Tensor2D | undefined) => {
      const layer = norms.indexOf(name);
      if (x !== undefined && layer >= 0) values[layer]?.set(x.dataSync(), place * width);
      return y;
    };
    const attend = causalAttend(model.config, ropeTable(model.config, tokens.length), 1, tokens.length);
    tf.tidy(() => void hiddenStates({ ...model, watch }, Int32Array.from(tokens), attend));
    place += tokens.length;
    onRow(done + 1);
  }
  return values;
}
