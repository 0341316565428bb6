// Decoding of many prompts at once: greedy, or drawn.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { createCache, decodeAttend, type KvCache, prefillAttend } from "./kv-cache.ts";
import { causalAttend, type Decoder, headLogits, hiddenStates } from "./llama.ts";
import { embed } from "./ops.ts";
import { uniforms } from "./random.ts";
import { ropeTable } from "./rope.ts";
import { liveValues } from "./storage.ts";

export interface GenerateOptions {
  readonly maxNewTokens: number;
  /** Sequences computed together. */
  readonly batchSize?: number;
  readonly signal?: AbortSignal;
  /** Draws tokens in place of the likeliest. A draw depends on the seed, the prompt's number and the place behind it alone. */
  readonly sampling?: { readonly temperature: number; readonly seed: number };
  /** Called after each batch with the number of prompts done. */
  readonly onProgress?: (done: number) => void;
}

/**
 * Continues each prompt with the likeliest token until an end token or `maxNewTokens`; ties go to the lowest id.
 * The result of a prompt does not depend on the prompts beside it. Returns new ids only, the end token left out, in the order of the prompts.
 * @throws WeightsmithError `prompt-empty`: there is no position to predict from; `cancelled`
 */
export async function generate(model: Decoder, prompts: readonly (readonly number[])[], options: GenerateOptions): Promise<number[][]> {
  const batchSize = options.batchSize ?? 64;
  const empty = prompts.findIndex((prompt) => prompt.length === 0);
  if (empty >= 0)
    throw inputError("prompt-empty", `prompt ${empty + 1} has no tokens`, { remedy: "use a tokenizer that starts sequences with a token, or write a prompt" });
  // Prompts of like length together: less padding to compute.
  const order = [...prompts.keys()].sort((a, b) => (prompts[a]?.length ?? 0) - (prompts[b]?.length ?? 0) || a - b);
  const results: number[][] = prompts.map(() => []);
  for (let start = 0; start < order.length; start += batchSize) {
    const members = order.slice(start, start + batchSize);
    const batch = members.map((i) => prompts[i] ?? []);
    // A decoder bound to whole sequences has no single steps.
    const generated = await (model.bind === undefined
      ? generateBatch(model, batch, options, members)
      : generateWhole(wholeScores(model), model.config, batch, options, members));
    for (const [row, index] of members.entries()) results[index] = generated[row] ?? [];
    options.onProgress?.(start + members.length);
  }
  return results;
}

/** @param members numbers of the prompts among all */
async function generateBatch(
  model: Decoder,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
  members: readonly number[],
): Promise<number[][]> {
  const longest = Math.max(...prompts.map((prompt) => prompt.length));
  const cache = createCache(model.config, ropeTable(model.config, longest + options.maxNewTokens), prompts.length);
  const results: number[][] = prompts.map(() => []);
  let active = [...prompts.keys()];
  const numbers = (slots: readonly number[]) => slots.map((slot) => members[slot] ?? slot);
  let next = options.maxNewTokens > 0 ? takeNext(prefill(model, prompts, cache), options, numbers(active), 0) : [];
  for (let step = 1; active.length > 0 && options.maxNewTokens > 0; step++) {
    await setImmediate();
    throwIfCancelled(options.signal);
    const going = active.map((slot, row) => ({ slot, token: next[row] ?? 0 })).filter(({ token }) => !model.config.eosTokenIds.includes(token));
    for (const { slot, token } of going) results[slot]?.push(token);
    if (step === options.maxNewTokens) break;
    active = going.map(({ slot }) => slot);
    const positions = active.map((slot) => (prompts[slot]?.length ?? 0) + step - 1);
    const tokens = Int32Array.from(going, ({ token }) => token);
    if (active.length > 0) next = takeNext(decode(model, cache, active, tokens, positions), options, numbers(active), step);
  }
  return results;
}

/** Scores of the next token at some positions of `batch` right-padded sequences, [positions, vocabulary]. */
export type NextTokenScores = (tokens: Int32Array, batch: number, positions: Int32Array) => tf.Tensor2D;

export const wholeScores =
  (model: Decoder): NextTokenScores =>
  (tokens, batch, positions) => {
    const seq = tokens.length / batch;
    return headLogits(model, embed(hiddenStates(model, tokens, causalAttend(model.config, ropeTable(model.config, seq), batch, seq)), positions));
  };

/** As `generate`, for one batch and anything that gives scores: every step computes the whole sequences anew. */
export async function generateWhole(
  scores: NextTokenScores,
  { eosTokenIds, maxPositions }: Decoder["config"],
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
  members: readonly number[] = [...prompts.keys()],
): Promise<number[][]> {
  const sequences = prompts.map((prompt) => [...prompt]);
  let active = [...prompts.keys()];
  for (let step = 0; active.length > 0 && step < options.maxNewTokens; step++) {
    await setImmediate();
    throwIfCancelled(options.signal);
    const rows = active.map((slot) => sequences[slot] ?? []);
    const seq = Math.max(...rows.map((row) => row.length));
    const tokens = new Int32Array(rows.length * seq);
    for (const [row, own] of rows.entries()) tokens.set(own, row * seq);
    const last = Int32Array.from(rows, (own, row) => row * seq + own.length - 1);
    const numbers = active.map((slot) => members[slot] ?? slot);
    const next = takeNext(
      tf.tidy(() => scores(tokens, rows.length, last)),
      options,
      numbers,
      step,
    );
    for (const [row, slot] of active.entries()) if (!eosTokenIds.includes(next[row] ?? 0)) sequences[slot]?.push(next[row] ?? 0);
    active = active.filter((slot, row) => !eosTokenIds.includes(next[row] ?? 0) && (sequences[slot]?.length ?? 0) < maxPositions);
  }
  return sequences.map((sequence, i) => sequence.slice(prompts[i]?.length ?? 0));
}

/** Scores of the token after each prompt. */
function prefill(model: Decoder, prompts: readonly (readonly number[])[], cache: KvCache): tf.Tensor2D {
  const seq = Math.max(...prompts.map((prompt) => prompt.length));
  const tokens = new Int32Array(prompts.length * seq);
  for (const [row, prompt] of prompts.entries()) tokens.set(prompt, row * seq);
  const last = Int32Array.from(prompts, (prompt, row) => row * seq + prompt.length - 1);
  return tf.tidy(() => headLogits(model, embed(hiddenStates(model, tokens, prefillAttend(cache, prompts.length, seq)), last)));
}

/** Scores of the token after each active sequence, given its latest one. */
function decode(model: Decoder, cache: KvCache, slots: readonly number[], tokens: Int32Array, positions: readonly number[]): tf.Tensor2D {
  return tf.tidy(() => headLogits(model, hiddenStates(model, tokens, decodeAttend(cache, slots, positions))));
}

/** The next token of each row, whose prompts' numbers are `members`; disposes `logits`. */
function takeNext(logits: tf.Tensor2D, { sampling }: GenerateOptions, members: readonly number[], step: number): number[] {
  const columns = logits.shape[1];
  const data = liveValues(logits);
  const next = members.map((member, row) => {
    const scores = data.subarray(row * columns, (row + 1) * columns);
    if (sampling === undefined) return largest(scores);
    return drawn(scores, sampling.temperature, uniforms(sampling.seed, `sample/${member}/${step}`, 1)[0] ?? 0);
  });
  logits.dispose();
  return next;
}

function largest(scores: Float32Array): number {
  let winner = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i]! > scores[winner]!) winner = i;
  return winner;
}

/** The place where the running sum of softmax(scores / temperature) passes `u` in [0, 1). */
export function drawn(scores: Float32Array, temperature: number, u: number): number {
  const top = scores[largest(scores)] ?? 0;
  const shares = Float64Array.from(scores, (score) => Math.exp((score - top) / temperature));
  let rest = u * shares.reduce((sum, share) => sum + share, 0);
  const found = shares.findIndex((share) => {
    rest -= share;
    return rest < 0;
  });
  return found < 0 ? largest(scores) : found;
}
