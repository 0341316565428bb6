// Feed-forward layers that send each position to a few of many experts: Mixtral (Jiang et al. 2024, 2401.04088) and Qwen2-MoE,
// which adds an expert for all positions. Every expert sees all rows here; those that did not choose it take nothing of it.
import * as tf from "@tensorflow/tfjs-core";
import type { MixtureConfig } from "./config.ts";
import { swiGlu } from "./ops.ts";

interface ExpertNames {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

const routerOf = ({ names }: MixtureConfig, layer: number): string =>
  names === "mixtral" ? `model.layers.${layer}.block_sparse_moe.gate` : `model.layers.${layer}.mlp.gate`;

function expertOf({ names }: MixtureConfig, layer: number, expert: number): ExpertNames {
  const path = `model.layers.${layer}.${names === "mixtral" ? "block_sparse_moe" : "mlp"}.experts.${expert}`;
  return names === "mixtral" ? { gate: `${path}.w1`, up: `${path}.w3`, down: `${path}.w2` } : dense(path);
}

const dense = (path: string): ExpertNames => ({ gate: `${path}.gate_proj`, up: `${path}.up_proj`, down: `${path}.down_proj` });
const sharedPath = (layer: number): string => `model.layers.${layer}.mlp.shared_expert`;

/** Name and shape of the tensors of one layer, in the place of a dense layer's three. */
export function mixtureShapes(config: MixtureConfig, layer: number, hidden: number): [string, readonly number[]][] {
  const matrices = ({ gate, up, down }: ExpertNames, width: number): [string, readonly number[]][] => [
    [`${gate}.weight`, [width, hidden]],
    [`${up}.weight`, [width, hidden]],
    [`${down}.weight`, [hidden, width]],
  ];
  const experts = Array.from({ length: config.experts }, (_, e) => matrices(expertOf(config, layer, e), config.width)).flat();
  const shared: [string, readonly number[]][] = [...matrices(dense(sharedPath(layer)), config.sharedWidth), [`${sharedPath(layer)}_gate.weight`, [1, hidden]]];
  return [[`${routerOf(config, layer)}.weight`, [config.experts, hidden]], ...experts, ...(config.sharedWidth === 0 ? [] : shared)];
}

/** What the layer adds to the residual stream. x [rows, hidden]; `linear` applies the module of a path. */
export function mixtureLayer(config: MixtureConfig, layer: number, x: tf.Tensor2D, linear: (module: string, x: tf.Tensor2D) => tf.Tensor2D): tf.Tensor2D {
  const feedForward = ({ gate, up, down }: ExpertNames): tf.Tensor2D => linear(down, swiGlu(linear(gate, x), linear(up, x)));
  const weights = chosenWeights(config, linear(routerOf(config, layer), x));
  let sum: tf.Tensor2D | undefined;
  for (let e = 0; e < config.experts; e++) {
    const part: tf.Tensor2D = tf.mul(feedForward(expertOf(config, layer, e)), tf.slice(weights, [0, e], [-1, 1]));
    sum = sum === undefined ? part : tf.add(sum, part);
  }
  if (sum === undefined) throw new TypeError("a mixture has experts");
  if (config.sharedWidth === 0) return sum;
  const gate = tf.sigmoid(linear(`${sharedPath(layer)}_gate`, x));
  return tf.add(sum, tf.mul(feedForward(dense(sharedPath(layer))), gate));
}

/** The router's probabilities, zero but for the `perToken` largest of each row; of equal ones the first are taken. [rows, experts] */
function chosenWeights({ experts, perToken, renormalise }: MixtureConfig, scores: tf.Tensor2D): tf.Tensor2D {
  const probabilities: tf.Tensor2D = tf.softmax(scores);
  const values = probabilities.dataSync<"float32">();
  const mask = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += experts) {
    const order = Array.from({ length: experts }, (_, e) => e).sort((a, b) => (values[start + b] as number) - (values[start + a] as number) || a - b);
    for (const e of order.slice(0, perToken)) mask[start + e] = 1;
  }
  const chosen: tf.Tensor2D = tf.mul(probabilities, tf.tensor2d(mask, probabilities.shape));
  return renormalise ? tf.div(chosen, tf.sum(chosen, 1, true)) : chosen;
}
