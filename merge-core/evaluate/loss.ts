// Mean cross-entropy of a model over token rows.
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { throwIfCancelled } from "../diagnostics.ts";
import { lossTokens, padRows, type TokenRow } from "../nn/data.ts";
import { type Decoder, weightedLoss } from "../nn/llama.ts";
import { ropeTable } from "../nn/rope.ts";

export interface LossOptions {
  readonly batchSize: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (rowsDone: number) => void;
}

/** Nats per predicted token, every token of every row weighing the same; NaN if there is none. */
export async function meanLoss(model: Decoder, rows: readonly TokenRow[], options: LossOptions): Promise<number> {
  const byLength = [...rows].sort((a, b) => a.tokens.length - b.tokens.length);
  const table = ropeTable(model.config, byLength.at(-1)?.tokens.length ?? 0);
  let total = 0;
  for (let start = 0; start < byLength.length; start += options.batchSize) {
    await setImmediate();
    throwIfCancelled(options.signal);
    const batch = byLength.slice(start, start + options.batchSize);
    const loss = tf.tidy(() => weightedLoss(model, padRows(batch, 1), table));
    total += loss.dataSync()[0] ?? Number.NaN;
    loss.dispose();
    options.onProgress?.(start + batch.length);
  }
  return total / lossTokens(rows);
}
