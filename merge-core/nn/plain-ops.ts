// The decoder's operations from stock tfjs ops.
import * as tf from "@tensorflow/tfjs-core";
import type { RopeTable } from "./rope.ts";

export interface HeadLayout {
  readonly batch: number;
  readonly seq: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly window?: number;
}

export function rmsNorm(x: tf.Tensor2D, weight: tf.Tensor1D, eps: number): tf.Tensor2D {
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), eps));
  return tf.mul(tf.mul(x, scale), weight);
}

export function layerNorm(x: tf.Tensor2D, weight: tf.Tensor1D, bias: tf.Tensor1D, eps: number): tf.Tensor2D {
  const centred: tf.Tensor2D = tf.sub(x, tf.mean(x, 1, true));
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centred), 1, true), eps));
  return tf.add(tf.mul(tf.mul(centred, scale), weight), bias);
}

export function gelu(x: tf.Tensor2D): tf.Tensor2D {
  const inner = tf.mul(tf.add(x, tf.mul(tf.mul(tf.mul(x, x), x), 0.044715)), Math.sqrt(2 / Math.PI));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
}

export function loraLinear(x: tf.Tensor2D, weight: tf.Tensor2D, a: tf.Tensor2D, b: tf.Tensor2D, scale: number): tf.Tensor2D {
  const change = tf.mul(tf.matMul(tf.matMul(x, a, false, true), b, false, true), scale);
  return tf.add(tf.matMul(x, weight, false, true), change);
}

export function swiGlu(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D {
  return tf.mul(tf.mul(gate, tf.sigmoid(gate)), up);
}

/** x [batch * seq, heads * headDim], position = index in the sequence. */
export function rope(x: tf.Tensor2D, table: RopeTable, batch: number, seq: number): tf.Tensor2D {
  const half = table.half;
  const heads = x.shape[1] / (2 * half);
  const shaped = tf.reshape(x, [batch, seq, heads, 2, half]);
  const [a, b] = tf.unstack(shaped, 3) as [tf.Tensor4D, tf.Tensor4D];
  const cos = tf.tensor(table.cos.slice(0, seq * half), [seq, 1, half]);
  const sin = tf.tensor(table.sin.slice(0, seq * half), [seq, 1, half]);
  const rotated = tf.stack([tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin))], 3);
  return tf.reshape(rotated, [batch * seq, heads * 2 * half]);
}

export function causalAttention(q: tf.Tensor2D, k: tf.Tensor2D, v: tf.Tensor2D, layout: HeadLayout): tf.Tensor2D {
  const { batch, seq, heads, kvHeads, headDim } = layout;
  const repeat = (x: tf.Tensor2D) => {
    const grouped = tf.reshape(x, [batch, seq, kvHeads, 1, headDim]);
    const tiled = tf.mul(grouped, tf.ones([1, 1, 1, heads / kvHeads, 1]));
    return tf.transpose(tf.reshape(tiled, [batch, seq, heads, headDim]), [0, 2, 1, 3]);
  };
  const query = tf.transpose(tf.reshape(q, [batch, seq, heads, headDim]), [0, 2, 1, 3]);
  const scores = tf.mul(tf.matMul(query, repeat(k), false, true), 1 / Math.sqrt(headDim));
  const mask = new Float32Array(seq * seq);
  for (let i = 0; i < seq; i++) {
    for (let j = 0; j < seq; j++) if (j > i || j <= i - (layout.window ?? Number.POSITIVE_INFINITY)) mask[i * seq + j] = -1e30;
  }
  const weights = tf.softmax(tf.add(scores, tf.tensor(mask, [seq, seq])));
  return tf.reshape(tf.transpose(tf.matMul(weights, repeat(v)), [0, 2, 1, 3]), [batch * seq, heads * headDim]);
}

/** -log softmax(logits_i)[target_i] of every row */
export function tokenLosses(logits: tf.Tensor2D, targets: Int32Array): tf.Tensor1D {
  const hot = tf.oneHot(tf.tensor1d(targets, "int32"), logits.shape[1], 1, 0, "float32");
  return tf.neg(tf.sum(tf.mul(tf.logSoftmax(logits), hot), 1));
}

/** sum of weight_i * -log softmax(logits_i)[target_i] */
export function crossEntropy(logits: tf.Tensor2D, targets: Int32Array, weights: Float32Array): tf.Scalar {
  return tf.sum(tf.mul(tokenLosses(logits, targets), tf.tensor1d(weights)));
}

export function embed(table: tf.Tensor2D, ids: Int32Array): tf.Tensor2D {
  return tf.gather(table, tf.tensor1d(ids, "int32"));
}
