// Squared gradients of single examples from one backward pass over a batch. The gradient of example b for a matrix W in y = x W^T is
// D_b^T X_b, where X_b are the inputs and D_b the gradients of the outputs at the example's positions; what autodiff would add up over
// the batch is squared first and added up then. Padding has no gradient and drops out.
import * as tf from "@tensorflow/tfjs-core";
// tfjs-core alone knows operations, not their derivatives.
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import { GPT2_POSITIONS } from "../../nn/gpt2.ts";
import { causalAttend, type Decoder, embeddingName, headLogits, hiddenStates } from "../../nn/llama.ts";
import { embed, layerNorm, rmsNorm } from "../../nn/ops.ts";
import { ropeTable } from "../../nn/rope.ts";
import { liveValues } from "../../nn/storage.ts";

/** Sums over examples of squared gradients, by weight. */
export type SquareSums = ReadonlyMap<string, Float64Array>;

/** A batch in which every example predicts at as many positions; those with weight 0 are there to fill up. */
export interface ExampleBatch {
  readonly examples: number;
  readonly seq: number;
  /** [examples * seq] */
  readonly tokens: Int32Array;
  /** [examples * positions], rows of the batch. */
  readonly positions: Int32Array;
}

/** Loss from scores [examples * positions, vocabulary]; its gradient is what is squared, so it must be a sum over examples. */
export type BatchLoss = (logits: tf.Tensor2D) => tf.Scalar;

/** Per-example gradients of one matrix that are made at once, in elements: they stay in the cache, and memory stays bounded. */
const GROUP_ELEMENTS = 2 ** 20;

export function zeroSums(model: Decoder): Map<string, Float64Array> {
  return new Map([...model.weights].map(([name, tensor]) => [name, new Float64Array(tensor.size)]));
}

/** Adds the squared gradients of each example of the batch to `sums`. */
export function addSquaredGradients(model: Decoder, batch: ExampleBatch, lossOf: BatchLoss, sums: SquareSums): void {
  const { examples, seq, tokens, positions } = batch;
  const embedding = embeddingName(model.config);
  const attend = causalAttend(model.config, ropeTable(model.config, seq), examples, seq);
  const head: { x: tf.Tensor2D; dy: tf.Tensor2D }[] = [];
  const seen = (name: string, x: tf.Tensor2D | undefined, dy: tf.Tensor2D): void => {
    const sum = (of: string) => sums.get(of) as Float64Array;
    if (name === GPT2_POSITIONS) addEmbedding(sum(name), attend.positions, examples, dy, undefined);
    else if (x === undefined) addEmbedding(sum(name), tokens, examples, dy, head[0]);
    else if (name === embedding && model.config.tiedHead) head.push({ x: tf.keep(tf.clone(x)), dy: tf.keep(tf.clone(dy)) });
    else {
      const bias = name.replace(/\.weight$/, ".bias");
      if (model.weights.get(name)?.rank === 1) addVector(sum(name), normGradients(x, dy, model.config), examples);
      else addMatrix(sum(name), x, dy, examples);
      if (model.weights.has(bias)) addVector(sum(bias), dy, examples);
    }
  };
  const watching: Decoder = { ...model, watch: (name, y, x) => tap(y, x, (dy, input) => seen(name, input, dy)) };
  const run = () => lossOf(headLogits(watching, embed(hiddenStates(watching, tokens, attend), positions)));
  // The gradients with respect to the embeddings need all others on their way.
  const first = [embedding, GPT2_POSITIONS].flatMap((name) => model.weights.get(name) ?? []);
  tf.dispose(tf.grads(run)(first));
  for (const { x, dy } of head) tf.dispose([x, dy]);
}

/** The identity, which tells what gradient passes back through it. */
function tap(y: tf.Tensor2D, x: tf.Tensor2D | undefined, onGradient: (dy: tf.Tensor2D, x: tf.Tensor2D | undefined) => void): tf.Tensor2D {
  const custom = tf.customGrad((value, save) => {
    (save as tf.GradSaveFunc)(x === undefined ? [] : [x]);
    const gradFunc = (dy: tf.Tensor, [kept]: tf.Tensor[]) => {
      tf.tidy(() => onGradient(dy as tf.Tensor2D, kept as tf.Tensor2D | undefined));
      return tf.clone(dy);
    };
    return { value: tf.clone(value as tf.Tensor2D), gradFunc };
  });
  return custom(y) as tf.Tensor2D;
}

/** [examples * rows, n] as [examples, rows, n], `count` examples from `first` on. */
function part(x: tf.Tensor2D, examples: number, first: number, count: number): tf.Tensor3D {
  const [all, width] = x.shape;
  const rows = all / examples;
  return tf.reshape(count === examples ? x : tf.slice(x, [first * rows, 0], [count * rows, width]), [count, rows, width]);
}

function addMatrix(sum: Float64Array, x: tf.Tensor2D, dy: tf.Tensor2D, examples: number): void {
  forGroups(examples, sum.length, (first, count) => {
    const gradients = tf.matMul(part(dy, examples, first, count), part(x, examples, first, count), true);
    addTo(sum, tf.sum(tf.square(gradients), 0));
  });
}

/** Gradients [examples * rows, n] of a vector that is added, or multiplied, at every row. */
function addVector(sum: Float64Array, perRow: tf.Tensor2D, examples: number): void {
  addTo(sum, tf.sum(tf.square(tf.sum(part(perRow, examples, 0, examples), 1)), 0));
}

function normGradients(x: tf.Tensor2D, dy: tf.Tensor2D, { modelType, normEps }: Decoder["config"]): tf.Tensor2D {
  const ones = tf.ones<tf.Rank.R1>([x.shape[1]]);
  return tf.mul(dy, modelType === "gpt2" ? layerNorm(x, ones, tf.zerosLike(ones), normEps) : rmsNorm(x, ones, normEps));
}

/** Rows of tokens that occur, added up within the example; with the gradient of a head on the same matrix, if there is one. */
function addEmbedding(sum: Float64Array, tokens: Int32Array, examples: number, dy: tf.Tensor2D, head: { x: tf.Tensor2D; dy: tf.Tensor2D } | undefined): void {
  const width = dy.shape[1];
  const seq = tokens.length / examples;
  const values = liveValues(dy);
  const addRows = (example: number, into: (token: number) => { data: Float32Array; start: number }) => {
    for (let row = example * seq; row < (example + 1) * seq; row++) {
      const { data, start } = into(tokens[row] as number);
      for (let i = 0; i < width; i++) data[start + i] = (data[start + i] as number) + (values[row * width + i] as number);
    }
  };
  if (head === undefined) {
    for (let example = 0; example < examples; example++) {
      const rows = new Map<number, Float32Array>();
      for (const token of tokens.subarray(example * seq, (example + 1) * seq)) rows.set(token, new Float32Array(width));
      addRows(example, (token) => ({ data: rows.get(token) as Float32Array, start: 0 }));
      for (const [token, row] of rows) for (const [i, g] of row.entries()) sum[token * width + i] = (sum[token * width + i] as number) + g * g;
    }
    return;
  }
  forGroups(examples, sum.length, (first, count) => {
    const gradients = tf.matMul(part(head.dy, examples, first, count), part(head.x, examples, first, count), true);
    const data = liveValues(gradients);
    for (let i = 0; i < count; i++) addRows(first + i, (token) => ({ data, start: i * sum.length + token * width }));
    addTo(sum, tf.sum(tf.square(gradients), 0));
  });
}

function forGroups(examples: number, elements: number, use: (first: number, count: number) => void): void {
  const size = Math.max(1, Math.floor(GROUP_ELEMENTS / elements));
  for (let first = 0; first < examples; first += size) tf.tidy(() => use(first, Math.min(size, examples - first)));
}

function addTo(sum: Float64Array, values: tf.Tensor): void {
  const data = liveValues(values);
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (data[i] as number);
}
