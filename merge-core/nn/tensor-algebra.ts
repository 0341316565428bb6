// The algebra of adapter families (adapters/algebra) in tfjs tensors, which know their gradients.
import * as tf from "@tensorflow/tfjs-core";
import type { Algebra } from "../adapters/algebra/algebra.ts";
import { invertMatrices } from "../adapters/algebra/float64.ts";
import { embed } from "./ops.ts";
import { readValues } from "./storage.ts";

const int32 = (indices: ArrayLike<number>): Int32Array => (indices instanceof Int32Array ? indices : Int32Array.from(indices));

/** A function of one tensor whose value and gradient are computed outside of the graph. */
function outside(x: tf.Tensor, forward: (x: tf.Tensor) => tf.Tensor, backward: (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor): tf.Tensor {
  const custom = tf.customGrad((input, save) => {
    const value = forward(input as tf.Tensor);
    (save as tf.GradSaveFunc)([value]);
    return { value, gradFunc: (dy: tf.Tensor, [y]: tf.Tensor[]) => backward(dy, y as tf.Tensor) };
  });
  return custom(x);
}

/** Rows by number: in one pass for matrices, whatever is in the table's other dimensions. */
function rows(x: tf.Tensor, indices: ArrayLike<number>): tf.Tensor {
  const [count = 0, ...rest] = x.shape;
  const width = rest.reduce((product, n) => product * n, 1);
  const table: tf.Tensor2D = tf.reshape(x, [count, width]);
  return tf.reshape(embed(table, int32(indices)), [indices.length, ...rest]);
}

function scatter(values: tf.Tensor, places: ArrayLike<number>, size: number): tf.Tensor {
  const add = (x: tf.Tensor) => {
    const out = new Float32Array(size);
    for (const [n, value] of readValues(x).entries()) out[places[n] as number] = (out[places[n] as number] as number) + value;
    return tf.tensor1d(out);
  };
  const take = (dy: tf.Tensor) => {
    const all = readValues(dy);
    return tf.tensor1d(Float32Array.from({ length: places.length }, (_, n) => all[places[n] as number] as number));
  };
  return outside(values, add, take);
}

/** dX = -Y^T dY Y^T for Y = X^-1. */
function inverse(x: tf.Tensor): tf.Tensor {
  const n = x.shape.at(-1) ?? 1;
  return outside(
    x,
    (input) => tf.tensor(Float32Array.from(invertMatrices(readValues(input), n)), input.shape),
    (dy, y) => tf.neg(tf.matMul(tf.matMul(y, dy, true, false), y, false, true)),
  );
}

export const tensorAlgebra: Algebra<tf.Tensor> = {
  shapeOf: (x) => x.shape,
  constant: (values, shape) => tf.tensor(values instanceof Float32Array ? values : Float32Array.from(values), [...shape]),
  valuesOf: (x) => readValues(x),
  matMul: (a, b, { transposeA = false, transposeB = false } = {}) => tf.matMul(a, b, transposeA, transposeB),
  add: (x, y) => tf.add(x, y),
  sub: (x, y) => tf.sub(x, y),
  mul: (x, y) => tf.mul(x, y),
  div: (x, y) => tf.div(x, y),
  scale: (x, factor) => (factor === 1 ? x : tf.mul(x, factor)),
  sqrt: (x) => tf.sqrt(x),
  sigmoid: (x) => tf.sigmoid(x),
  tanh: (x) => tf.tanh(x),
  relu: (x) => tf.relu(x),
  softmax: (x) => tf.softmax(x),
  sum: (x, axis) => tf.sum(x, axis, true),
  reshape: (x, shape) => tf.reshape(x, [...shape]),
  transpose: (x, order) => tf.transpose(x, [...order]),
  concat: (parts, axis) => tf.concat([...parts], axis),
  rows,
  scatter,
  inverse,
  detach: (x) => tf.tensor(readValues(x).slice(), x.shape),
};
