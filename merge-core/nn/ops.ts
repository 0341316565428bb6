// The decoder's operations, each with a gradient of its own: one pass over memory instead of a chain of small kernels. On
// another tfjs backend than ours they are the plain compositions of nn/plain-ops, which are also their oracle.
import * as tf from "@tensorflow/tfjs-core";
import { inputError } from "../diagnostics.ts";
import { registerGradients } from "./op-gradients.ts";
import type { HeadLayout } from "./plain-ops.ts";
import * as plain from "./plain-ops.ts";
import type { RopeTable } from "./rope.ts";
import { activeBackend } from "./storage.ts";

export type { HeadLayout } from "./plain-ops.ts";

registerGradients();

type Tensors = Readonly<Record<string, tf.Tensor>>;

function run(kernel: string, inputs: Tensors, attrs: object = {}): tf.Tensor[] {
  const out = tf.engine().runKernel(kernel, { ...inputs }, attrs as tf.NamedAttrMap) as tf.Tensor | tf.Tensor[];
  return Array.isArray(out) ? out : [out];
}

/** The first result, with its true rank. */
const one = <T extends tf.Tensor>(kernel: string, inputs: Tensors, attrs: object = {}): T => run(kernel, inputs, attrs)[0] as T;

/** A function of tensors that knows its gradient: `forward` gives the value and what `backward` needs besides. */
function differentiable<T extends tf.Tensor>(
  inputs: readonly tf.Tensor[],
  forward: () => { value: T; keep: tf.Tensor[] },
  backward: (dy: T, kept: tf.Tensor[]) => tf.Tensor[],
): T {
  const custom = tf.customGrad((...args) => {
    const save = args.at(-1) as unknown as (tensors: tf.Tensor[]) => void;
    const { value, keep } = forward();
    save(keep);
    return { value, gradFunc: (dy: T, kept: tf.Tensor[]) => backward(dy, kept) };
  });
  return custom(...inputs) as T;
}

/** x * weight / sqrt(mean(x^2) + eps) over the last dimension. x [rows, n], weight [n]. */
export function rmsNorm(x: tf.Tensor2D, weight: tf.Tensor1D, eps: number): tf.Tensor2D {
  return activeBackend() === undefined ? plain.rmsNorm(x, weight, eps) : one("FusedRmsNorm", { x, weight }, { eps });
}

/** (x - mean) * weight / sqrt(variance + eps) + bias over the last dimension. x [rows, n], weight and bias [n]. */
export function layerNorm(x: tf.Tensor2D, weight: tf.Tensor1D, bias: tf.Tensor1D, eps: number): tf.Tensor2D {
  return activeBackend() === undefined ? plain.layerNorm(x, weight, bias, eps) : one("FusedLayerNorm", { x, weight, bias }, { eps });
}

/** x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) */
export function gelu(x: tf.Tensor2D): tf.Tensor2D {
  if (activeBackend() === undefined) return plain.gelu(x);
  return differentiable(
    [x],
    () => ({ value: one("FusedGelu", { x }), keep: [x] }),
    (dy, [x]) => run("FusedGeluGrad", { x: x!, dy }),
  );
}

/** x W^T + scale (x A^T) B^T. x [rows, in], weight [out, in], a [r, in], b [out, r]. */
export function loraLinear(x: tf.Tensor2D, weight: tf.Tensor2D, a: tf.Tensor2D, b: tf.Tensor2D, scale: number): tf.Tensor2D {
  return activeBackend() === undefined ? plain.loraLinear(x, weight, a, b, scale) : one("FusedLoraLinear", { x, weight, a, b }, { scale });
}

/** silu(gate) * up, element by element. */
export function swiGlu(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D {
  if (activeBackend() === undefined) return plain.swiGlu(gate, up);
  return differentiable(
    [gate, up],
    () => ({ value: one("FusedSwiGlu", { gate, up }), keep: [gate, up] }),
    (dy, [gate, up]) => run("FusedSwiGluGrad", { gate: gate!, up: up!, dy }),
  );
}

/** Rotary positions: x [batch * seq, heads * headDim], position = index in the sequence. */
export function rope(x: tf.Tensor2D, table: RopeTable, batch: number, seq: number): tf.Tensor2D {
  if (table.half === 0) return x;
  if (activeBackend() === undefined) return plain.rope(x, table, batch, seq);
  const part = (values: Float32Array) => tf.tensor2d(values.subarray(0, seq * table.half), [seq, table.half]);
  const [cos, sin] = [part(table.cos), part(table.sin)];
  return differentiable(
    [x],
    () => ({ value: one("FusedRope", { x, cos, sin }), keep: [cos, sin] }),
    (dy, [cos, sin]) => run("FusedRope", { x: dy, cos: cos!, sin: sin! }, { inverse: true }),
  );
}

/**
 * softmax(q k^T / sqrt(headDim)) v, each position seeing itself and those before it. q [batch * seq, heads * headDim],
 * k and v [batch * seq, kvHeads * headDim]; query heads share key heads in groups.
 */
export function causalAttention(q: tf.Tensor2D, k: tf.Tensor2D, v: tf.Tensor2D, layout: HeadLayout): tf.Tensor2D {
  if (activeBackend() === undefined) return plain.causalAttention(q, k, v, layout);
  return differentiable(
    [q, k, v],
    () => {
      const [value, probabilities] = run("FusedCausalAttention", { q, k, v }, layout) as [tf.Tensor2D, tf.Tensor];
      return { value, keep: [q, k, v, probabilities] };
    },
    (dy, [q, k, v, probabilities]) => run("FusedCausalAttentionGrad", { q: q!, k: k!, v: v!, probabilities: probabilities!, dy }, layout),
  );
}

/** -log softmax(logits)[target] of every row, in nats. logits [rows, vocabulary]. @throws WeightsmithError `index-out-of-range` */
export function tokenLosses(logits: tf.Tensor2D, targets: Int32Array): tf.Tensor1D {
  const wrong = targets.findIndex((target) => !(target >= 0 && target < logits.shape[1]));
  if (wrong >= 0) {
    throw inputError("index-out-of-range", "a target token is outside the vocabulary", {
      found: `${targets[wrong]} at position ${wrong}`,
      expected: `0 to ${logits.shape[1] - 1}`,
      remedy: "check that the tokenizer and the model have the same vocabulary",
    });
  }
  if (activeBackend() === undefined) return plain.tokenLosses(logits, targets);
  const ids = tf.tensor1d(targets, "int32");
  return differentiable(
    [logits],
    () => {
      const [value, logSumExp] = run("FusedCrossEntropy", { logits, targets: ids }) as [tf.Tensor1D, tf.Tensor];
      return { value, keep: [logits, ids, logSumExp] };
    },
    (dy, [logits, targets, logSumExp]) => run("FusedCrossEntropyGrad", { logits: logits!, targets: targets!, logSumExp: logSumExp!, dy }),
  );
}

/** sum of weight_i * -log softmax(logits_i)[target_i] */
export function crossEntropy(logits: tf.Tensor2D, targets: Int32Array, weights: Float32Array): tf.Scalar {
  return tf.sum(tf.mul(tokenLosses(logits, targets), tf.tensor1d(weights)));
}

/** Rows of the table; the gradient adds up the rows of equal ids in their order. */
export function embed(table: tf.Tensor2D, ids: Int32Array): tf.Tensor2D {
  if (activeBackend() === undefined) return plain.embed(table, ids);
  const index = tf.tensor1d(ids, "int32");
  const rows = table.shape[0];
  return differentiable(
    [table],
    () => ({ value: one("FusedEmbedding", { table, ids: index }), keep: [index] }),
    (dy, [ids]) => run("FusedEmbeddingGrad", { dy, ids: ids! }, { rows }),
  );
}
