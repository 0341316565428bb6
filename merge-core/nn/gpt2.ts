// The forward pass of GPT-2 (Radford et al. 2019): learned positions, norms with means and biases, one projection for queries, keys and values,
// GELU by its tanh form (Hendrycks & Gimpel 2016, 1606.08415). Files hold its layers as [in, out]; in memory they are [out, in] as all others are.
import * as tf from "@tensorflow/tfjs-core";
import type { DecoderConfig } from "./config.ts";
import { embed, gelu, layerNorm } from "./ops.ts";

/** The linear layers of a block, where adapters can attach; c_proj is both that of attention and that of the MLP. */
export const GPT2_PROJECTIONS = ["c_attn", "c_proj", "c_fc"] as const;
export const GPT2_NORMS = ["ln_1", "ln_2", "ln_f"] as const;
export const GPT2_EMBEDDING = "transformer.wte.weight";
export const GPT2_POSITIONS = "transformer.wpe.weight";

/** Layers that files hold as [in, out]. */
export const isTransposed = (config: DecoderConfig, name: string): boolean => config.modelType === "gpt2" && /\.(c_attn|c_proj|c_fc)\.weight$/.test(name);

/** Old files leave out the prefix of the decoder's body. */
export const gpt2Name = (name: string): string => (/^(wte|wpe|ln_f|h\.\d+)\./.test(name) ? `transformer.${name}` : name);

/** Causal masks that old files carry along. */
export const GPT2_MASK = /\.attn\.(bias|masked_bias)$/;

/** Names and shapes as in memory, in the order in which transformers saves them. */
export function gpt2Shapes({ vocabSize, hiddenSize: d, intermediateSize: m, layers, maxPositions, tiedHead }: DecoderConfig): Map<string, readonly number[]> {
  const layer = (path: string, out: number, input: number): [string, number[]][] => [
    [`${path}.weight`, [out, input]],
    [`${path}.bias`, [out]],
  ];
  const norm = (path: string): [string, number[]][] => [
    [`${path}.weight`, [d]],
    [`${path}.bias`, [d]],
  ];
  const blocks = Array.from({ length: layers }, (_, i) => `transformer.h.${i}`).flatMap((h) => [
    ...norm(`${h}.ln_1`),
    ...layer(`${h}.attn.c_attn`, 3 * d, d),
    ...layer(`${h}.attn.c_proj`, d, d),
    ...norm(`${h}.ln_2`),
    ...layer(`${h}.mlp.c_fc`, m, d),
    ...layer(`${h}.mlp.c_proj`, d, m),
  ]);
  const shapes: [string, number[]][] = [[GPT2_EMBEDDING, [vocabSize, d]], [GPT2_POSITIONS, [maxPositions, d]], ...blocks, ...norm("transformer.ln_f")];
  return new Map(tiedHead ? shapes : [...shapes, ["lm_head.weight", [vocabSize, d]]]);
}

/** What a block is computed with. */
export interface Gpt2Parts {
  readonly config: DecoderConfig;
  weight<T extends tf.Tensor>(name: string): T;
  linear(module: string, x: tf.Tensor2D): tf.Tensor2D;
  attend(layer: number, q: tf.Tensor2D, k: tf.Tensor2D, v: tf.Tensor2D): tf.Tensor2D;
  watched(weight: string, y: tf.Tensor2D, x?: tf.Tensor2D): tf.Tensor2D;
}

/** Tokens and their places, [rows, hidden]. */
export function gpt2Embedding({ weight, watched }: Gpt2Parts, tokens: Int32Array, positions: Int32Array): tf.Tensor2D {
  const token = watched(GPT2_EMBEDDING, embed(weight<tf.Tensor2D>(GPT2_EMBEDDING), tokens));
  return tf.add(token, watched(GPT2_POSITIONS, embed(weight<tf.Tensor2D>(GPT2_POSITIONS), positions)));
}

export function gpt2Norm({ weight, watched, config }: Gpt2Parts, path: string, x: tf.Tensor2D): tf.Tensor2D {
  return watched(`${path}.weight`, layerNorm(x, weight<tf.Tensor1D>(`${path}.weight`), weight<tf.Tensor1D>(`${path}.bias`), config.normEps), x);
}

/** What one layer makes of its input [rows, hidden]. */
export function gpt2Block(parts: Gpt2Parts, layer: number, x: tf.Tensor2D): tf.Tensor2D {
  const path = `transformer.h.${layer}`;
  const fused = parts.linear(`${path}.attn.c_attn`, gpt2Norm(parts, `${path}.ln_1`, x));
  const [q, k, v] = tf.split(fused, 3, 1) as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D];
  const between: tf.Tensor2D = tf.add(x, parts.linear(`${path}.attn.c_proj`, parts.attend(layer, q, k, v)));
  const wide = gelu(parts.linear(`${path}.mlp.c_fc`, gpt2Norm(parts, `${path}.ln_2`, between)));
  return tf.add(between, parts.linear(`${path}.mlp.c_proj`, wide));
}
