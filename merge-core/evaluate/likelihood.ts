// What a model thinks of given answers: log-probabilities of rows, choices among answers, and how sure it is of its next token.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { DEFAULT_MAX_LENGTH, padRows, readJsonLines, type TokenRow, tokenize } from "../nn/data.ts";
import { causalAttend, type Decoder, headLogits, hiddenStates } from "../nn/llama.ts";
import type { Model } from "../nn/model.ts";
import { embed, tokenLosses } from "../nn/ops.ts";
import { ropeTable } from "../nn/rope.ts";
import { batchByLength } from "./loss.ts";

export interface LikelihoodOptions {
  /** Sequences computed together. Default 64. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number) => void;
}

/** What one batch gives: scores of the positions that count, and the row of the batch each belongs to. */
interface Scored {
  readonly logits: tf.Tensor2D;
  readonly targets: Int32Array;
  readonly owners: readonly number[];
}

/** Of each row, the sum of `value` over the positions that predict something, and their number. Rows keep their order. */
async function sumRows(
  model: Decoder,
  rows: readonly TokenRow[],
  options: LikelihoodOptions,
  value: (scored: Scored) => tf.Tensor1D,
): Promise<{ sum: number; count: number }[]> {
  const sums = rows.map(() => ({ sum: 0, count: 0 }));
  const order = [...rows.keys()].sort((a, b) => (rows[a]?.tokens.length ?? 0) - (rows[b]?.tokens.length ?? 0) || a - b);
  const sorted = order.flatMap((i) => rows[i] ?? []);
  let done = 0;
  for (const batch of batchByLength(sorted, options.batchSize ?? 64, model.config.vocabSize)) {
    await setImmediate();
    throwIfCancelled(options.signal);
    const owners: number[] = [];
    const values = tf.tidy(() => {
      const scored = scorePositions(model, batch);
      owners.push(...scored.owners);
      return value(scored);
    });
    const data = values.dataSync();
    values.dispose();
    for (const [i, owner] of owners.entries()) {
      const entry = sums[order[done + owner] ?? 0];
      if (entry === undefined) continue;
      entry.sum += data[i] ?? Number.NaN;
      entry.count++;
    }
    done += batch.length;
    options.onProgress?.(done);
  }
  return sums;
}

function scorePositions(model: Decoder, rows: readonly TokenRow[]): Scored {
  const { tokens, targets, weights, batch, seq } = padRows(rows, 1);
  const table = ropeTable(model.config, seq);
  const positions = Int32Array.from(weights.keys()).filter((i) => weights[i] !== 0);
  const logits = headLogits(model, embed(hiddenStates(model, tokens, causalAttend(model.config, table, batch, seq)), positions));
  return { logits, targets: positions.map((i) => targets[i] ?? 0), owners: Array.from(positions, (i) => Math.floor(i / seq)) };
}

/** Log-probability in nats of the predicted tokens of each row together. */
export async function logLikelihoods(model: Decoder, rows: readonly TokenRow[], options: LikelihoodOptions = {}): Promise<number[]> {
  const sums = await sumRows(model, rows, options, ({ logits, targets }) => tokenLosses(logits, targets));
  return sums.map(({ sum }) => -sum);
}

/** Shannon entropy in nats of softmax(logits), row by row. logits [rows, vocabulary]; differentiable. */
export function entropies(logits: tf.Tensor2D): tf.Tensor1D {
  const logP = tf.logSoftmax(logits);
  return tf.neg(tf.sum(tf.mul(tf.exp(logP), logP), 1));
}

/** A prompt by itself, or with an answer that is not looked at; or text. */
export type Unlabelled = { readonly prompt: string } | { readonly text: string };

/** @throws WeightsmithError `file-missing`, `data-syntax`, `data-shape`, `data-empty` */
export function readUnlabelled(file: string): Promise<Unlabelled[]> {
  return readJsonLines(file, '{"prompt": "..."} or {"text": "..."}', ({ prompt, text }) => {
    if (typeof prompt === "string") return { prompt };
    return typeof text === "string" ? { text } : undefined;
  });
}

/** A row whose last position only is looked at. The token behind it is a stand-in: nothing is done with it. */
const promptRow = (tokens: readonly number[]): TokenRow => ({ tokens: [...tokens, 0], lossFrom: tokens.length });

/** Rows whose marked positions are those that entropy is taken at: behind a prompt, everywhere in a text. Labels play no part. */
export function unlabelledRows(model: Model, examples: readonly Unlabelled[]): TokenRow[] {
  const { eosTokenIds, maxPositions } = model.decoder.config;
  const maxLength = Math.min(maxPositions, DEFAULT_MAX_LENGTH);
  return examples.flatMap((example) => {
    if ("text" in example) return tokenize(example, model.codec, eosTokenIds[0], maxLength);
    const tokens = model.codec.encodeStart(example.prompt);
    return tokens.length === 0 || tokens.length > maxLength ? [] : [promptRow(tokens)];
  });
}

/** Mean entropy in nats over the marked positions of each row, in the order of the rows. */
export async function rowEntropies(model: Decoder, rows: readonly TokenRow[], options: LikelihoodOptions = {}): Promise<number[]> {
  return (await sumRows(model, rows, options, ({ logits }) => entropies(logits))).map(({ sum, count }) => sum / count);
}

/** Mean entropy in nats of the distribution of the next token: behind each prompt, at every position of each text. */
export async function meanEntropy(model: Model, examples: readonly Unlabelled[], options: LikelihoodOptions = {}): Promise<number> {
  const sums = await sumRows(model.decoder, unlabelledRows(model, examples), options, ({ logits }) => entropies(logits));
  return sums.reduce((total, { sum }) => total + sum, 0) / sums.reduce((total, { count }) => total + count, 0);
}

/** A question with answers to choose from. */
export interface Choice {
  readonly prompt: string;
  readonly choices: readonly string[];
  /** Index of the right one. */
  readonly answer: number;
}

/** @throws WeightsmithError `file-missing`, `data-syntax`, `data-shape`, `data-empty` */
export function readChoices(file: string): Promise<Choice[]> {
  return readJsonLines(file, '{"prompt": "...", "choices": ["...", ...], "answer": index of the right one}', ({ prompt, choices, answer }) => {
    if (typeof prompt !== "string" || !Array.isArray(choices) || choices.length < 2 || typeof answer !== "number") return undefined;
    if (!choices.every((choice) => typeof choice === "string") || !(Number.isInteger(answer) && answer >= 0 && answer < choices.length)) return undefined;
    return { prompt, choices, answer };
  });
}

/**
 * Fraction of questions whose right answer is the likeliest continuation; ties go to the first. With `perByte` the log-likelihood is divided by the
 * answer's length in UTF-8 bytes first, as `acc_norm` of the evaluation harness has it. No end token is counted.
 * @throws WeightsmithError `data-too-long` if a choice does not fit into the model's context
 */
export async function chooseByLikelihood(model: Model, questions: readonly Choice[], perByte: boolean, options: LikelihoodOptions = {}): Promise<number> {
  const { maxPositions } = model.decoder.config;
  const rows = questions.flatMap(({ prompt, choices }) => choices.map((completion) => choiceRow(model, prompt, completion, maxPositions)));
  const likelihoods = await logLikelihoods(model.decoder, rows, options);
  let right = 0;
  let first = 0;
  for (const { choices, answer } of questions) {
    const scores = choices.map((choice, i) => (likelihoods[first + i] ?? Number.NaN) / (perByte ? Math.max(1, Buffer.byteLength(choice)) : 1));
    first += choices.length;
    // A score that is no number must not make a model look merely wrong.
    if (scores.some(Number.isNaN)) return Number.NaN;
    if (scores.indexOf(Math.max(...scores)) === answer) right++;
  }
  return right / questions.length;
}

function choiceRow(model: Model, prompt: string, completion: string, maxLength: number): TokenRow {
  const row = tokenize({ prompt, completion }, model.codec, undefined, maxLength)[0];
  if (row !== undefined) return row;
  const found = `${prompt.slice(0, 40)} ... ${completion.slice(0, 40)}`;
  throw inputError("data-too-long", "a question with one of its answers does not fit into the model's context, or has no tokens", {
    found,
    expected: `2 to ${maxLength} tokens`,
  });
}
