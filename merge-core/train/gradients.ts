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

/** The mean loss over the predicted tokens of all micro-batches, in nats, as `stepGradients` has it. */
export function stepLoss(
  microBatches: readonly (readonly TokenRow[])[],
  decoderOf: (microBatch: number, rows: readonly TokenRow[]) => TrainingPass,
  table: RopeTable,
): number {
  const tokens = microBatches.reduce((sum, rows) => sum + lossTokens(rows), 0);
  return microBatches.reduce((sum, rows, index) => {
    const value = tf.tidy(microBatchLoss(decoderOf(index, rows), rows, { tokens, index, table }));
    const loss = value.dataSync()[0] ?? Number.NaN;
    value.dispose();
    return sum + loss;
  }, 0);
}

/** A decoder for one micro-batch of training. */
export interface TrainingPass extends Decoder {
  /** Added to the loss once a step. */
  penalty?(): tf.Scalar | undefined;
  /** How much a row's loss counts. Default 1. */
  rowWeight?(row: TokenRow): number;
}

/**
 * Gradients of the mean loss over the predicted tokens of all micro-batches together: each token weighs the same, however
 * the rows are divided, so accumulating equals one large batch.
 * @param decoderOf the decoder to use for micro-batch i
 */
export function stepGradients(
  parameters: ReadonlyMap<string, tf.Tensor>,
  microBatches: readonly (readonly TokenRow[])[],
  decoderOf: (microBatch: number, rows: readonly TokenRow[]) => TrainingPass,
  table: RopeTable,
): StepGradients {
  const tokens = microBatches.reduce((sum, rows) => sum + lossTokens(rows), 0);
  const names = [...parameters.keys()];
  let sums: tf.Tensor[] = [];
  let loss = 0;
  for (const [index, rows] of microBatches.entries()) {
    const lossOf = microBatchLoss(decoderOf(index, rows), rows, { tokens, index, table });
    const { value, grads } = tf.valueAndGrads(lossOf)([...parameters.values()]);
    loss += value.dataSync()[0] ?? Number.NaN;
    value.dispose();
    const previous = sums;
    sums = previous.length === 0 ? grads : tf.tidy(() => grads.map((gradient, i) => tf.add(gradient, previous[i] ?? 0)));
    if (previous.length > 0) tf.dispose([previous, grads]);
  }
  return { loss, tokens, gradients: new Map(names.map((name, i) => [name, sums[i] ?? tf.scalar(0)])) };
}

function microBatchLoss(
  pass: TrainingPass,
  rows: readonly TokenRow[],
  { tokens, index, table }: { readonly tokens: number; readonly index: number; readonly table: RopeTable },
): () => tf.Scalar {
  const batch = padRows(rows, 1 / tokens);
  if (pass.rowWeight !== undefined) weighRows(batch.weights, batch.seq, rows, pass.rowWeight);
  return () => {
    const penalty = index === 0 ? pass.penalty?.() : undefined;
    const sum = weightedLoss(pass, batch, table);
    return penalty === undefined ? sum : (tf.add(sum, penalty) as tf.Scalar);
  };
}

function weighRows(weights: Float32Array, seq: number, rows: readonly TokenRow[], weightOf: (row: TokenRow) => number): void {
  for (const [index, row] of rows.entries()) {
    const factor = weightOf(row);
    for (let at = index * seq; at < (index + 1) * seq; at++) weights[at] = (weights[at] as number) * factor;
  }
}
