// Small decoders with seeded random weights, for tests of everything that runs or trains a model.
import { narrowFromFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { elementCount } from "../../merge-core/formats/dtypes.ts";
import { type DecoderConfig, parseDecoderConfig } from "../../merge-core/nn/config.ts";
import { weightShapes } from "../../merge-core/nn/llama.ts";
import type { TensorData } from "../../merge-core/nn/load.ts";

/** config.json of a two-layer Llama with grouped queries; `changes` replace keys. */
export function tinyConfigJson(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 17,
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 4,
    rms_norm_eps: 1e-5,
    rope_theta: 100,
    max_position_embeddings: 64,
    tie_word_embeddings: false,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
    ...changes,
  };
}

export const tinyConfig = (changes: Readonly<Record<string, unknown>> = {}): DecoderConfig => parseDecoderConfig(tinyConfigJson(changes));

/** Uniform numbers in [-1, 1); a linear congruential generator, so that the tests' numbers do not hang on the code under test. */
export function testRandom(seed: number): () => number {
  let state = BigInt(seed) * 2n + 1n;
  return () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
    return Number(state >> 40n) / 2 ** 23 - 1;
  };
}

/** Norm weights near one, the rest uniform in [-0.5, 0.5). */
export function tinyTensors(config: DecoderConfig, seed = 1): Map<string, TensorData> {
  const random = testRandom(seed);
  return new Map(
    [...weightShapes(config)].map(([name, shape]) => {
      const centre = /norm/.test(name) ? 1 : 0;
      const values = Float32Array.from({ length: elementCount(shape) }, () => centre + random() / 2);
      return [name, { dtype: "F32", shape, data: narrowFromFloat32("F32", values) } satisfies TensorData];
    }),
  );
}
