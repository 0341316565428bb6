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
  const byLength = [...rows].sort((a, b) => a.tokens.length - b.tokens.length);
  const table = ropeTable(model.config, byLength.at(-1)?.tokens.length ?? 0);
  let total = 0;
  for (let start = 0; start < byLength.length; ) {
    await setImmediate();
    throwIfCancelled(options.signal);
    const batch = nextBatch(byLength, start, options.batchSize, MAX_BATCH_SCORES / model.config.vocabSize);
    const loss = tf.tidy(() => weightedLoss(model, padRows(batch, 1), table));
    total += loss.dataSync()[0] ?? Number.NaN;
    loss.dispose();
    start += batch.length;
    options.onProgress?.(start);
  }
  return total / lossTokens(rows);
}

/** Rows from `start` whose padded size stays within `maxTokens`, at least one. Rows come in order of length, so the last is the longest. */
function nextBatch(rows: readonly TokenRow[], start: number, batchSize: number, maxTokens: number): TokenRow[] {
  let size = 1;
  while (size < batchSize && (rows[start + size]?.tokens.length ?? Number.POSITIVE_INFINITY) * (size + 1) <= maxTokens) size++;
  return rows.slice(start, start + size);
}
