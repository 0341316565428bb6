// What test-time methods minimise: the entropy of a model's next token on unlabelled data, and its gradients.
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import { entropies } from "../evaluate/likelihood.ts";
import { padRows, type TokenRow } from "../nn/data.ts";
import { causalAttend, type Decoder, headLogits, hiddenStates } from "../nn/llama.ts";
import { embed } from "../nn/ops.ts";
import { permutation } from "../nn/random.ts";
import { ropeTable } from "../nn/rope.ts";
import { liveValues } from "../nn/storage.ts";

/** Mean entropy in nats at the marked positions of the rows. Differentiable. */
export function batchEntropy(model: Decoder, rows: readonly TokenRow[]): tf.Scalar {
  const { tokens, weights, batch, seq } = padRows(rows, 1);
  const positions = Int32Array.from(weights.keys()).filter((i) => weights[i] !== 0);
  const hidden = hiddenStates(model, tokens, causalAttend(model.config, ropeTable(model.config, seq), batch, seq));
  return tf.mean(entropies(headLogits(model, embed(hidden, positions))));
}

export interface EntropyGradients {
  /** Sum over tasks. */
  readonly loss: number;
  /** By tensor, in the order of the decoder's weights. */
  readonly gradients: readonly Float64Array[];
}

/** Sum over tasks of the mean entropy of the task's batch, and its gradient with respect to every weight. */
export function entropyGradients(model: Decoder, batches: readonly (readonly TokenRow[])[]): EntropyGradients {
  const weights = [...model.weights.values()];
  const gradients = weights.map(({ size }) => new Float64Array(size));
  let loss = 0;
  for (const rows of batches) {
    const { value, grads } = tf.valueAndGrads(() => batchEntropy(model, rows))(weights);
    loss += value.dataSync()[0] ?? Number.NaN;
    for (const [k, grad] of grads.entries()) {
      const [sum, values] = [gradients[k] as Float64Array, liveValues(grad)];
      for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (values[i] as number);
    }
    tf.dispose([value, ...grads]);
  }
  return { loss, gradients };
}

/** The rows of a task's batch number `step`: every row once before any comes again, in an order that hangs on the seed. */
export function taskBatch(rows: readonly TokenRow[], batchSize: number, seed: number, task: number, step: number): TokenRow[] {
  const perEpoch = Math.ceil(rows.length / batchSize);
  const order = permutation(seed, `adapt/${task}/${Math.floor(step / perEpoch)}`, rows.length);
  const first = (step % perEpoch) * batchSize;
  return order.slice(first, first + batchSize).flatMap((i) => rows[i] ?? []);
}
