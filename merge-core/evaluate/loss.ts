// Mean cross-entropy of a model over token rows.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { throwIfCancelled } from "../diagnostics.ts";
import { lossTokens, padRows, type TokenRow } from "../nn/data.ts";
import { type Decoder, weightedLoss } from "../nn/llama.ts";
import { ropeTable } from "../nn/rope.ts";

/** Scores over the vocabulary that one batch may hold, which bounds its memory (256 MiB of float32). */
const MAX_BATCH_SCORES = 2 ** 26;

export interface LossOptions {
  /** At most so many rows together; long rows or a large vocabulary make it fewer. */
  readonly batchSize: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (rowsDone: number) => void;
}

/** Nats per predicted token, every token of every row weighing the same; NaN if there is none. */
export async function meanLoss(model: Decoder, rows: readonly TokenRow[], options: LossOptions): Promise<number> {
  return meanLossBy(() => model, model.config, rows, options);
}

/** The same with a decoder of its own for each batch: some adapters make one layer for each task. */
export async function meanLossBy(
  decoderOf: (batch: readonly TokenRow[]) => Decoder,
  config: Decoder["config"],
  rows: readonly TokenRow[],
  options: LossOptions,
): Promise<number> {
  const byLength = [...rows].sort((a, b) => a.tokens.length - b.tokens.length);
  const table = ropeTable(config, byLength.at(-1)?.tokens.length ?? 0);
  let total = 0;
  let done = 0;
  for (const batch of batchByLength(byLength, options.batchSize, config.vocabSize)) {
    await setImmediate();
    throwIfCancelled(options.signal);
    const loss = tf.tidy(() => weightedLoss(decoderOf(batch), padRows(batch, 1), table));
    total += loss.dataSync()[0] ?? Number.NaN;
    loss.dispose();
    done += batch.length;
    options.onProgress?.(done);
  }
  return total / lossTokens(rows);
}

/** Batches of rows whose padded size keeps the scores over the vocabulary within bounds. Rows come in order of length, so the last is the longest. */
export function* batchByLength(rows: readonly TokenRow[], batchSize: number, vocabSize: number): Generator<TokenRow[]> {
  for (let start = 0; start < rows.length; ) {
    let size = 1;
    while (size < batchSize && (rows[start + size]?.tokens.length ?? Number.POSITIVE_INFINITY) * (size + 1) <= MAX_BATCH_SCORES / vocabSize) size++;
    yield rows.slice(start, start + size);
    start += size;
  }
}
