// Gram matrices of the inputs of every linear layer on data, E[x x^T] over tokens (RegMean: Jin et al. 2023, 2212.09849). The released
// code counts padding as tokens; here it is left out. A mixture's experts are taken to see all tokens, chosen or not. A head that shares its matrix with the embedding has none: it is not linear alone.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { throwIfCancelled } from "../../diagnostics.ts";
import { padRows, type TokenRow } from "../../nn/data.ts";
import { causalAttend, type Decoder, embeddingName, headLogits, hiddenStates } from "../../nn/llama.ts";
import { embed } from "../../nn/ops.ts";
import { ropeTable } from "../../nn/rope.ts";
import { liveValues } from "../../nn/storage.ts";
import { batchByLength } from "../loss.ts";

export interface GramOptions {
  /** Sequences computed together. Default 32. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (rowsDone: number) => void;
}

export interface Grams {
  /** By weight name, [in, in] row by row. Layers with the same inputs share one array. */
  readonly grams: ReadonlyMap<string, Float64Array>;
  /** Tokens that the matrices are means over. */
  readonly tokens: number;
}

/** Means over all tokens that are put in; the last of a row is only ever predicted. @throws WeightsmithError `cancelled` */
export async function gramMatrices(model: Decoder, rows: readonly TokenRow[], options: GramOptions = {}): Promise<Grams> {
  const grams = new Map<string, Float64Array>();
  const sorted = [...rows].sort((a, b) => a.tokens.length - b.tokens.length);
  let tokens = 0;
  let done = 0;
  for (const batch of batchByLength(sorted, options.batchSize ?? 32, model.config.vocabSize)) {
    await setImmediate();
    throwIfCancelled(options.signal);
    tokens += addGrams(model, batch, grams);
    done += batch.length;
    options.onProgress?.(done);
  }
  for (const sum of new Set(grams.values())) for (const i of sum.keys()) sum[i] = (sum[i] as number) / tokens;
  return { grams, tokens };
}

/** Adds the products of one batch; returns its tokens. */
function addGrams(model: Decoder, rows: readonly TokenRow[], grams: Map<string, Float64Array>): number {
  const { tokens, batch, seq } = padRows(rows, 1);
  const real = Int32Array.from(tokens.keys()).filter((row) => row % seq < (rows[Math.floor(row / seq)]?.tokens.length ?? 0) - 1);
  let latest: { input: tf.Tensor2D; sum: Float64Array } | undefined;
  const watch = (name: string, y: tf.Tensor2D, x: tf.Tensor2D | undefined) => {
    if (x === undefined || model.weights.get(name)?.rank !== 2 || name === embeddingName(model.config)) return y;
    // Queries, keys and values have one input, gates and ups another.
    if (latest?.input === x) grams.set(name, latest.sum);
    else {
      const width = x.shape[1];
      const sum = grams.get(name) ?? new Float64Array(width * width);
      grams.set(name, sum);
      latest = { input: x, sum };
      addProduct(sum, x.shape[0] === real.length ? x : embed(x, real));
    }
    return y;
  };
  tf.tidy(() => {
    const hidden = hiddenStates({ ...model, watch }, tokens, causalAttend(model.config, ropeTable(model.config, seq), batch, seq));
    if (!model.config.tiedHead) headLogits({ ...model, watch }, embed(hidden, real));
  });
  return real.length;
}

function addProduct(sum: Float64Array, x: tf.Tensor2D): void {
  const product = tf.matMul(x, x, true);
  const data = liveValues(product);
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (data[i] as number);
}
