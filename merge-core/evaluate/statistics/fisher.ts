// The diagonal of a model's Fisher information on data (Matena and Raffel 2022, 2111.09832): the mean over examples of the squared
// gradient of log p(y | x), element by element, where p(y | x) is the probability of all predicted tokens of the example together. The
// tokens in front of each prediction are those of the data. Three ways to choose y:
//   sampled    tokens drawn from the model's own distribution, the mean over several draws: what is expected is exact
//   exact      the expectation itself over the whole vocabulary at every position; gradients of different positions are uncorrelated
//              under the model, so the sum over positions of their squares is meant. As many backward passes per position as the model
//              is wide, or as there are tokens if those are fewer
//   empirical  the data's own tokens
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { throwIfCancelled } from "../../diagnostics.ts";
import { padRows, type TokenRow } from "../../nn/data.ts";
import { causalAttend, type Decoder, embeddingName, headLogits, hiddenStates } from "../../nn/llama.ts";
import { crossEntropy } from "../../nn/ops.ts";
import { uniforms } from "../../nn/random.ts";
import { ropeTable } from "../../nn/rope.ts";
import { liveValues } from "../../nn/storage.ts";
import { batchByLength } from "../loss.ts";
import { addSquaredGradients, type ExampleBatch, zeroSums } from "./per-example.ts";
import { type ScoreDirections, scoreDirections } from "./score-directions.ts";

export const FISHER_MODES = ["sampled", "exact", "empirical"] as const;
export type FisherMode = (typeof FISHER_MODES)[number];

export interface FisherOptions {
  /** Default `sampled`. */
  readonly mode?: FisherMode;
  /** Draws per example in mode `sampled`. Default 1. */
  readonly samples?: number;
  /** Default 0. */
  readonly seed?: number;
  /** Examples computed together; never changes a draw. Default 32. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (examplesDone: number) => void;
}

/** A row with its place among the rows, which its random numbers hang on. */
interface NumberedRow extends TokenRow {
  readonly index: number;
}

/** The Fisher information's diagonal, by weight name; a mean over `rows`. @throws WeightsmithError `cancelled` */
export async function fisherDiagonal(model: Decoder, rows: readonly TokenRow[], options: FisherOptions = {}): Promise<Map<string, Float64Array>> {
  const { mode = "sampled", samples = 1, seed = 0, batchSize = 32 } = options;
  const draws = mode === "sampled" ? samples : 1;
  const sums = zeroSums(model);
  const numbered = rows.map((row, index): NumberedRow => ({ ...row, index })).sort((a, b) => a.tokens.length - b.tokens.length || a.index - b.index);
  let done = 0;
  for (const batch of batchByLength(numbered, batchSize, model.config.vocabSize) as Generator<NumberedRow[]>) {
    for (let draw = 0; draw < draws; draw++) {
      await setImmediate();
      throwIfCancelled(options.signal);
      if (mode === "exact") for (const row of batch) await addExpectation(model, row, batchSize, sums, options.signal);
      else addBatch(model, batch, mode === "sampled" ? `${draw}` : undefined, seed, sums);
    }
    done += batch.length;
    options.onProgress?.(done);
  }
  for (const sum of sums.values()) for (const i of sum.keys()) sum[i] = (sum[i] as number) / (rows.length * draws);
  return sums;
}

type Sums = ReadonlyMap<string, Float64Array>;

/** Positions of each row that predict something, as many for each: the last is repeated, with weight 0, where a row has fewer. */
function exampleBatch(rows: readonly TokenRow[]): ExampleBatch & { targets: Int32Array; weights: Float32Array } {
  const { tokens, targets, seq } = padRows(rows, 1);
  const most = Math.max(...rows.map((row) => row.tokens.length - row.lossFrom));
  const all = rows.flatMap((row, i) => Array.from({ length: most }, (_, k) => i * seq + Math.min(row.lossFrom - 1 + k, row.tokens.length - 2)));
  const positions = Int32Array.from(all);
  const weights = Float32Array.from(all, (_, k) => (k % most < lengthOf(rows[Math.floor(k / most)]) ? 1 : 0));
  return { examples: rows.length, seq, tokens, positions, targets: positions.map((p) => targets[p] ?? 0), weights };
}

const lengthOf = (row: TokenRow | undefined): number => (row === undefined ? 0 : row.tokens.length - row.lossFrom);

function addBatch(model: Decoder, rows: readonly NumberedRow[], draw: string | undefined, seed: number, sums: Sums): void {
  const batch = exampleBatch(rows);
  const perRow = batch.positions.length / rows.length;
  const random = draw === undefined ? [] : rows.map((row) => uniforms(seed, `fisher/${row.index}/${draw}`, lengthOf(row)));
  const lossOf = (logits: tf.Tensor2D) => {
    const targets = draw === undefined ? batch.targets : drawTokens(logits, (row) => random[Math.floor(row / perRow)]?.[row % perRow] ?? 0);
    return crossEntropy(logits, targets, batch.weights);
  };
  addSquaredGradients(model, batch, lossOf, sums);
}

/** One token of each row's softmax, chosen by a number in [0, 1). */
export function drawTokens(logits: tf.Tensor2D, random: (row: number) => number): Int32Array {
  const [rows, vocabulary] = logits.shape;
  const probabilities = tf.softmax(logits);
  const p = liveValues(probabilities);
  const drawn = Int32Array.from({ length: rows }, (_, row) => {
    let rest = random(row);
    for (let token = 0; token < vocabulary - 1; token++) {
      rest -= p[row * vocabulary + token] as number;
      if (rest < 0) return token;
    }
    return vocabulary - 1;
  });
  probabilities.dispose();
  return drawn;
}

/** The expectation over every token at every position: each direction of the scores is an example of its own. */
async function addExpectation(model: Decoder, row: TokenRow, batchSize: number, sums: Sums, signal: AbortSignal | undefined): Promise<void> {
  const inputs = Int32Array.from(row.tokens.slice(0, -1));
  const { vocabSize: vocabulary, hiddenSize: width } = model.config;
  const { hidden, chances } = scoresOf(model, inputs);
  const headName = model.config.tiedHead ? embeddingName(model.config) : "lm_head.weight";
  const head = liveValues(model.weights.get(headName) as tf.Tensor).slice();
  for (let position = row.lossFrom - 1; position < inputs.length; position++) {
    const context = inputs.subarray(0, position + 1);
    const directions = scoreDirections(chances.slice(position * vocabulary, (position + 1) * vocabulary), head);
    for (let first = 0; first < directions.count; first += batchSize) {
      await setImmediate();
      throwIfCancelled(signal);
      addDirections(model, context, directions, first, Math.min(batchSize, directions.count - first), sums);
    }
    addRest(sums.get(headName) as Float64Array, directions.rest, hidden.subarray(position * width, (position + 1) * width));
  }
}

/** What the head sees at each position, and the probabilities that come of it. */
function scoresOf(model: Decoder, inputs: Int32Array): { hidden: Float32Array; chances: Float32Array } {
  return tf.tidy(() => {
    const hidden = hiddenStates(model, inputs, causalAttend(model.config, ropeTable(model.config, inputs.length), 1, inputs.length));
    return { hidden: liveValues(hidden).slice(), chances: liveValues(tf.softmax(headLogits(model, hidden))).slice() };
  });
}

function addDirections(model: Decoder, context: Int32Array, directions: ScoreDirections, first: number, examples: number, sums: Sums): void {
  const { vocabSize: vocabulary } = model.config;
  const weights = new Float32Array(examples * vocabulary);
  const tokens = new Int32Array(examples * context.length);
  for (let i = 0; i < examples; i++) {
    directions.write(first + i, weights.subarray(i * vocabulary, (i + 1) * vocabulary));
    tokens.set(context, i * context.length);
  }
  const positions = Int32Array.from({ length: examples }, (_, i) => (i + 1) * context.length - 1);
  const lossOf = (logits: tf.Tensor2D) => tf.sum(tf.mul(logits, tf.tensor2d(weights, [examples, vocabulary]))) as tf.Scalar;
  addSquaredGradients(model, { examples, seq: context.length, tokens, positions }, lossOf, sums);
}

function addRest(sum: Float64Array, rest: Float64Array, hidden: Float32Array): void {
  for (let token = 0; token < rest.length; token++) {
    const start = token * hidden.length;
    for (let i = 0; i < hidden.length; i++) sum[start + i] = (sum[start + i] as number) + (rest[token] as number) * (hidden[i] as number) ** 2;
  }
}
