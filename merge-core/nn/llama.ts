// Forward pass of the Llama family (Touvron et al. 2023, 2302.13971; Mistral's window, Qwen2's biases) on tfjs, and what all decoders share.
// Activations are 2-D [batch * seq, features]; weights keep their Hugging Face names and [out, in] layout.
import * as tf from "@tensorflow/tfjs-core";
import type { DecoderConfig } from "./config.ts";
import { expertShapes } from "./expert-names.ts";
import { GPT2_EMBEDDING, type Gpt2Parts, gpt2Block, gpt2Embedding, gpt2Norm, gpt2Shapes } from "./gpt2.ts";
import { mixtureLayer, mixtureShapes } from "./mixture.ts";
import { causalAttention, crossEntropy, embed, rmsNorm, rope, swiGlu } from "./ops.ts";
import { parametersOfLayer, recomputed } from "./recompute.ts";
import { type RopeTable, ropeTable } from "./rope.ts";

/** The linear layers of a decoder block, where LoRA can attach. */
export const PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
/** The last parts of the paths of norms. */
export const NORMS = ["input_layernorm", "post_attention_layernorm", "norm"] as const;
export type Projection = (typeof PROJECTIONS)[number];

/** A low-rank update of one projection: y += scale * (x A^T) B^T, A [r, in], B [out, r]. */
export interface LowRank {
  readonly a: tf.Tensor2D;
  readonly b: tf.Tensor2D;
  readonly scale: number;
}

/** A linear layer that an adapter changes: y [rows, out] of the input [rows, in], which in training may reach the change with dropout. */
export type AdaptedLayer = (layer: {
  readonly x: tf.Tensor2D;
  readonly branch: tf.Tensor2D;
  readonly weight: tf.Tensor2D;
  readonly bias: tf.Tensor1D | undefined;
}) => tf.Tensor2D;

/** A decoder ready to run. Whoever made the tensors disposes them. */
export interface Decoder {
  readonly config: DecoderConfig;
  /** By Hugging Face name, such as `model.layers.0.self_attn.q_proj.weight`. */
  readonly weights: ReadonlyMap<string, tf.Tensor>;
  /** By module path, such as `model.layers.0.self_attn.q_proj`. */
  readonly lora?: ReadonlyMap<string, LowRank>;
  /** By module path: layers of which an adapter makes the whole output. */
  readonly adapted?: ReadonlyMap<string, AdaptedLayer>;
  /** Applied to the input of each change that an adapter adds; set only while training. */
  readonly dropout?: (module: string, x: tf.Tensor2D) => tf.Tensor2D;
  /** Sees the output `y` of every operation with a weight, its input `x` (none for the embedding), and says what goes on in place of `y`. */
  readonly watch?: (weight: string, y: tf.Tensor2D, x: tf.Tensor2D | undefined) => tf.Tensor2D;
  /** What gradients are wanted of, by name; set where blocks are to be computed once more for their gradients instead of being held. */
  readonly recompute?: ReadonlyMap<string, tf.Tensor>;
  /** The decoder of one pass, where that hangs on how sequences lie in it. */
  readonly bind?: (attend: Attend) => Decoder;
}

/** Mixes positions, `seq` of each sequence where whole sequences are computed: takes projected q, k, v of one layer (not yet rotated), returns [rows, heads * headDim]. */
export interface Attend {
  (layer: number, q: tf.Tensor2D, k: tf.Tensor2D, v: tf.Tensor2D): tf.Tensor2D;
  readonly seq?: number;
  /** The place of each row in its sequence, for decoders that learned places. */
  readonly positions: Int32Array;
}

export const modulePath = (layer: number, projection: Projection): string =>
  `model.layers.${layer}.${projection.endsWith("_proj") && /^[qkvo]_/.test(projection) ? "self_attn" : "mlp"}.${projection}`;

/** Name and shape of every tensor that a model of this configuration has in memory, in the order transformers saves them. */
export function weightShapes(config: DecoderConfig): Map<string, readonly number[]> {
  if (config.modelType === "gpt2") return gpt2Shapes(config);
  const { hiddenSize: d, intermediateSize: m, vocabSize } = config;
  const shapes = new Map<string, readonly number[]>([["model.embed_tokens.weight", [vocabSize, d]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    const { mixture } = config;
    for (const projection of PROJECTIONS) {
      if (mixture !== undefined && modulePath(layer, projection).includes(".mlp.")) continue;
      const [out, input, bias] = projectionShape(config, projection);
      shapes.set(`${modulePath(layer, projection)}.weight`, [out, input]);
      if (bias) shapes.set(`${modulePath(layer, projection)}.bias`, [out]);
    }
    if (mixture !== undefined) for (const [name, shape] of mixtureShapes(mixture, layer, d)) shapes.set(name, shape);
    shapes.set(`model.layers.${layer}.input_layernorm.weight`, [d]);
    shapes.set(`model.layers.${layer}.post_attention_layernorm.weight`, [d]);
  }
  shapes.set("model.norm.weight", [d]);
  if (!config.tiedHead) shapes.set("lm_head.weight", [vocabSize, d]);
  for (const [name, shape] of expertShapes(config)) shapes.set(name, shape);
  return shapes;

  function projectionShape(c: DecoderConfig, projection: Projection): [out: number, input: number, bias: boolean] {
    if (projection === "q_proj") return [c.heads * c.headDim, d, c.qkvBias];
    if (projection === "k_proj" || projection === "v_proj") return [c.kvHeads * c.headDim, d, c.qkvBias];
    if (projection === "o_proj") return [d, c.heads * c.headDim, c.outputBias];
    return projection === "down_proj" ? [d, m, c.mlpBias] : [m, d, c.mlpBias];
  }
}

/** The residual stream after the last norm, [rows, hidden]. `tokens` holds one id per row. */
export function hiddenStates(unbound: Decoder, tokens: Int32Array, attend: Attend): tf.Tensor2D {
  const model = unbound.bind?.(attend) ?? unbound;
  const { config } = model;
  const gpt2 = config.modelType === "gpt2" ? gpt2Parts(model, attend) : undefined;
  let x = gpt2
    ? gpt2Embedding(gpt2, tokens, attend.positions)
    : watched(model, "model.embed_tokens.weight", embed(weight<tf.Tensor2D>(model, "model.embed_tokens.weight"), tokens));
  // One scope per block: what the gradient does not need is freed as soon as the block is done.
  for (let layer = 0; layer < config.layers; layer++) {
    const block = (input: tf.Tensor2D) => decoderBlock(model, layer, input, attend);
    x = tf.tidy(() => (model.recompute === undefined ? block(x) : recomputed(block, x, parametersOfLayer(model.recompute, layer))));
  }
  if (gpt2) return gpt2Norm(gpt2, "transformer.ln_f", x);
  return watched(model, "model.norm.weight", rmsNorm(x, weight<tf.Tensor1D>(model, "model.norm.weight"), config.normEps), x);
}

const gpt2Parts = (model: Decoder, attend: Attend): Gpt2Parts => ({
  config: model.config,
  attend,
  weight: (name) => weight(model, name),
  linear: (module, x) => project(model, module, x),
  watched: (name, y, x) => watched(model, name, y, x),
});

const watched = (model: Decoder, name: string, y: tf.Tensor2D, x?: tf.Tensor2D): tf.Tensor2D => model.watch?.(name, y, x) ?? y;

/** What one layer makes of its input [rows, hidden]. */
export function decoderBlock(model: Decoder, layer: number, x: tf.Tensor2D, attend: Attend): tf.Tensor2D {
  if (model.config.modelType === "gpt2") return gpt2Block(gpt2Parts(model, attend), layer, x);
  const linear = (projection: Projection, input: tf.Tensor2D) => project(model, modulePath(layer, projection), input);
  const norm = (name: string, input: tf.Tensor2D) => {
    const path = `model.layers.${layer}.${name}.weight`;
    return watched(model, path, rmsNorm(input, weight<tf.Tensor1D>(model, path), model.config.normEps), input);
  };
  const forAttention = norm("input_layernorm", x);
  const mixed = attend(layer, linear("q_proj", forAttention), linear("k_proj", forAttention), linear("v_proj", forAttention));
  const between: tf.Tensor2D = tf.add(x, linear("o_proj", mixed));
  const forMlp = norm("post_attention_layernorm", between);
  const { mixture } = model.config;
  if (mixture !== undefined)
    return tf.add(
      between,
      mixtureLayer(mixture, layer, forMlp, (module, input) => project(model, module, input)),
    );
  return tf.add(between, linear("down_proj", swiGlu(linear("gate_proj", forMlp), linear("up_proj", forMlp))));
}

/** The table of token embeddings. */
export const embeddingName = ({ modelType }: DecoderConfig): string => (modelType === "gpt2" ? GPT2_EMBEDDING : "model.embed_tokens.weight");

/** Scores over the vocabulary, [rows, vocab]. */
export function headLogits(model: Decoder, hidden: tf.Tensor2D): tf.Tensor2D {
  const name = model.config.tiedHead ? embeddingName(model.config) : "lm_head.weight";
  return watched(model, name, tf.matMul(hidden, weight<tf.Tensor2D>(model, name), false, true), hidden);
}

/** Full causal attention over `batch` right-padded sequences of `seq` positions; padding cannot reach what comes before it. */
export function causalAttend(config: DecoderConfig, table: RopeTable, batch: number, seq: number): Attend {
  const { heads, kvHeads, headDim, slidingWindow } = config;
  const layout = { batch, seq, heads, kvHeads, headDim, ...(slidingWindow === undefined ? {} : { window: slidingWindow }) };
  const attend = (_layer: number, q: tf.Tensor2D, k: tf.Tensor2D, v: tf.Tensor2D) =>
    causalAttention(rope(q, table, batch, seq), rope(k, table, batch, seq), v, layout);
  return Object.assign(attend, { seq, positions: Int32Array.from({ length: batch * seq }, (_, row) => row % seq) });
}

/** Next-token scores at every position of `batch` right-padded sequences, [batch * seq, vocab]. */
export function forwardLogits(model: Decoder, tokens: Int32Array, batch: number): tf.Tensor2D {
  const seq = tokens.length / batch;
  return tf.tidy(() => headLogits(model, hiddenStates(model, tokens, causalAttend(model.config, ropeTable(model.config, seq), batch, seq))));
}

/** Right-padded token rows with what each position should predict. */
export interface TokenBatch {
  readonly batch: number;
  readonly seq: number;
  /** [batch * seq] */
  readonly tokens: Int32Array;
  /** [batch * seq]; the following token. */
  readonly targets: Int32Array;
  /** [batch * seq]; 0 where no loss is taken (prompt, padding). */
  readonly weights: Float32Array;
}

/** Sum over positions of weight * cross-entropy, in nats. Only rows that carry weight go through the head. */
export function weightedLoss(model: Decoder, batch: TokenBatch, table: RopeTable): tf.Scalar {
  const hidden = hiddenStates(model, batch.tokens, causalAttend(model.config, table, batch.batch, batch.seq));
  const rows = Int32Array.from(batch.weights.keys()).filter((row) => batch.weights[row] !== 0);
  const targets = rows.map((row) => batch.targets[row] ?? 0);
  const weights = Float32Array.from(rows, (row) => batch.weights[row] ?? 0);
  return crossEntropy(headLogits(model, embed(hidden, rows)), targets, weights);
}

function project(model: Decoder, module: string, x: tf.Tensor2D): tf.Tensor2D {
  const adapted = model.adapted?.get(module);
  if (adapted !== undefined) {
    const own = { weight: weight<tf.Tensor2D>(model, `${module}.weight`), bias: model.weights.get(`${module}.bias`) as tf.Tensor1D | undefined };
    return adapted({ x, branch: model.dropout?.(module, x) ?? x, ...own });
  }
  const base = watched(model, `${module}.weight`, tf.matMul(x, weight<tf.Tensor2D>(model, `${module}.weight`), false, true), x);
  const bias = model.weights.get(`${module}.bias`);
  const y: tf.Tensor2D = bias === undefined ? base : tf.add(base, bias);
  const lora = model.lora?.get(module);
  if (lora === undefined) return y;
  const input = model.dropout?.(module, x) ?? x;
  return tf.add(y, tf.mul(tf.matMul(tf.matMul(input, lora.a, false, true), lora.b, false, true), lora.scale));
}

function weight<T extends tf.Tensor>(model: Decoder, name: string): T {
  const tensor = model.weights.get(name);
  if (tensor === undefined) throw new Error(`the model has no tensor ${name}`);
  return tensor as T;
}
