// Loss and gradients of one optimiser step.
import * as tf from "@tensorflow/tfjs-core";
// tfjs-core alone knows operations, not their derivatives.
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import { lossTokens, padRows, type TokenRow } from "../nn/data.ts";
import { type Decoder, weightedLoss } from "../nn/llama.ts";
import type { RopeTable } from "../nn/rope.ts";

export interface StepGradients {
  /** Mean loss over all predicted tokens of the step, in nats. */
  readonly loss: number;
  /** By parameter name; the caller disposes them. */
  readonly gradients: ReadonlyMap<string, tf.Tensor>;
  readonly tokens: number;
}

/**
 * Gradients of the mean loss over the predicted tokens of all micro-batches together: each token weighs the same, however
 * the rows are divided, so accumulating equals one large batch.
 * @param decoderOf the decoder to use for micro-batch i
 */
export function stepGradients(
  parameters: ReadonlyMap<string, tf.Tensor>,
  microBatches: readonly (readonly TokenRow[])[],
  decoderOf: (microBatch: number) => Decoder,
  table: RopeTable,
): StepGradients {
  const tokens = microBatches.reduce((sum, rows) => sum + lossTokens(rows), 0);
  const names = [...parameters.keys()];
  let sums: tf.Tensor[] = [];
  let loss = 0;
  for (const [index, rows] of microBatches.entries()) {
    const batch = padRows(rows, 1 / tokens);
    const decoder = decoderOf(index);
    const { value, grads } = tf.valueAndGrads(() => weightedLoss(decoder, batch, table))([...parameters.values()]);
    loss += value.dataSync()[0] ?? Number.NaN;
    value.dispose();
    const previous = sums;
    sums = previous.length === 0 ? grads : tf.tidy(() => grads.map((gradient, i) => tf.add(gradient, previous[i] ?? 0)));
    if (previous.length > 0) tf.dispose([previous, grads]);
  }
  return { loss, tokens, gradients: new Map(names.map((name, i) => [name, sums[i] ?? tf.scalar(0)])) };
}
