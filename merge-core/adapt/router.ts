// The router of 1bit-Merging (Liu et al. 2025, 2502.10743): from a prompt to the task whose one-bit task vector is to be used. The paper
// leaves its architecture open; here it is logistic regression on the mean over tokens of the hidden states in front of a middle layer.
import * as tf from "@tensorflow/tfjs-core";
import type { TokenRow } from "../nn/data.ts";
import { causalAttend, type Decoder, hiddenStates } from "../nn/llama.ts";
import { ropeTable } from "../nn/rope.ts";
import { liveValues } from "../nn/storage.ts";
import { createAdam } from "./adam.ts";

export interface Router {
  readonly classes: number;
  /** [classes, features + 1], the bias last; of features brought to mean 0 and deviation 1. */
  readonly weights: Float64Array;
  readonly mean: Float64Array;
  readonly deviation: Float64Array;
}

/** Mean hidden state of each row's tokens (but the last, which is only ever predicted) in front of `layer`. */
export function pooledStates(model: Decoder, rows: readonly TokenRow[], layer = Math.floor(model.config.layers / 2)): Float64Array[] {
  return rows.map(({ tokens }) => {
    const ids = Int32Array.from(tokens.slice(0, -1));
    let pooled = new Float64Array();
    const watch = (name: string, y: tf.Tensor2D, x: tf.Tensor2D | undefined) => {
      if (x !== undefined && name === `model.layers.${layer}.input_layernorm.weight`) pooled = columnMeans(x);
      return y;
    };
    tf.tidy(() => void hiddenStates({ ...model, watch }, ids, causalAttend(model.config, ropeTable(model.config, ids.length), 1, ids.length)));
    return pooled;
  });
}

function columnMeans(x: tf.Tensor2D): Float64Array<ArrayBuffer> {
  const [rows, columns] = x.shape;
  const values = liveValues(x);
  const means = new Float64Array(columns);
  for (const [i, value] of values.entries()) means[i % columns] = (means[i % columns] ?? 0) + value / rows;
  return means;
}

const STEPS = 300;
const RATE = 0.05;
const L2 = 1e-3;

/** Softmax regression by full-batch Adam. @param labels from 0 */
export function trainRouter(features: readonly Float64Array[], labels: readonly number[], classes: number): Router {
  const size = features[0]?.length ?? 0;
  const mean = Float64Array.from({ length: size }, (_, k) => average(features.map((x) => x[k] ?? 0)));
  const deviation = Float64Array.from({ length: size }, (_, k) => Math.sqrt(average(features.map((x) => ((x[k] ?? 0) - (mean[k] ?? 0)) ** 2))) || 1);
  const router: Router = { classes, weights: new Float64Array(classes * (size + 1)), mean, deviation };
  const scaled = features.map((x) => standardise(router, x));
  const adam = createAdam(router.weights.length, RATE);
  for (let step = 0; step < STEPS; step++) adam.step(router.weights, lossGradient(router, scaled, labels));
  return router;
}

const average = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

const standardise = ({ mean, deviation }: Router, x: Float64Array): Float64Array => x.map((value, k) => (value - (mean[k] ?? 0)) / (deviation[k] ?? 1));

function lossGradient(router: Router, scaled: readonly Float64Array[], labels: readonly number[]): Float64Array {
  const { weights, classes } = router;
  const width = weights.length / classes;
  const gradient = weights.map((w) => L2 * w);
  for (const [i, x] of scaled.entries()) {
    const p = probabilities(router, x);
    for (let c = 0; c < classes; c++) {
      const error = ((p[c] ?? 0) - (labels[i] === c ? 1 : 0)) / scaled.length;
      for (let k = 0; k < width; k++) gradient[c * width + k] = (gradient[c * width + k] ?? 0) + error * (x[k] ?? 1);
    }
  }
  return gradient;
}

function probabilities({ weights, classes }: Router, scaled: Float64Array): number[] {
  const width = weights.length / classes;
  const scores = Array.from({ length: classes }, (_, c) => {
    let score = weights[c * width + width - 1] ?? 0;
    for (let k = 0; k < scaled.length; k++) score += (weights[c * width + k] ?? 0) * (scaled[k] ?? 0);
    return score;
  });
  const most = Math.max(...scores);
  const exp = scores.map((score) => Math.exp(score - most));
  const sum = exp.reduce((total, e) => total + e, 0);
  return exp.map((e) => e / sum);
}

/** The likeliest class; the first of equals. */
export function routeOf(router: Router, features: Float64Array): number {
  const p = probabilities(router, standardise(router, features));
  return p.indexOf(Math.max(...p));
}
