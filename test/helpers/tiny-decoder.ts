// Small decoders with seeded random weights, for tests of everything that runs or trains a model.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { narrowFromFloat32, widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { elementCount } from "../../merge-core/formats/dtypes.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { type DecoderConfig, parseDecoderConfig } from "../../merge-core/nn/config.ts";
import { isTransposed } from "../../merge-core/nn/gpt2.ts";
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

/** As changes of the above: a two-layer GPT-2. */
export const TINY_GPT2: Readonly<Record<string, unknown>> = {
  architectures: ["GPT2LMHeadModel"],
  model_type: "gpt2",
  n_embd: 8,
  n_head: 2,
  n_layer: 2,
  n_positions: 64,
  tie_word_embeddings: true,
};

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
      const centre = /norm|\.ln_.\.weight/.test(name) ? 1 : 0;
      const values = Float32Array.from({ length: elementCount(shape) }, () => centre + random() / 2);
      const stored = isTransposed(config, name) ? shape.toReversed() : shape;
      return [name, { dtype: "F32", shape: stored, data: narrowFromFloat32("F32", values) } satisfies TensorData];
    }),
  );
}

/** tokenizer.json with one token per character: ids 0 pad, 1 begin (put in front of text), 2 end, then a, b, c, ... */
export function tinyTokenizerJson(characters = "abcdefghijklmn"): Record<string, unknown> {
  const specials = ["<pad>", "<s>", "</s>"];
  const vocab = Object.fromEntries([...specials, ...characters].map((token, id) => [token, id]));
  const added = specials.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: { type: "Fuse" },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges: [],
    },
  };
}

/** A model folder with config, tokenizer and seeded weights in F32. */
export function writeTinyModel(folder: string, changes: Readonly<Record<string, unknown>> = {}, seed = 1, dtype: "F32" | "BF16" = "F32"): string {
  mkdirSync(folder, { recursive: true });
  const tensors = [...tinyTensors(tinyConfig(changes), seed)].map(([name, { shape, data }]) => ({
    ...{ name, dtype, shape },
    data: narrowFromFloat32(dtype, widenToFloat32("F32", data)),
  }));
  writeFileSync(join(folder, "config.json"), JSON.stringify(tinyConfigJson(changes)));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tinyTokenizerJson()));
  writeFileSync(
    join(folder, "tokenizer_config.json"),
    JSON.stringify({ bos_token: "<s>", eos_token: "</s>", pad_token: "<pad>", clean_up_tokenization_spaces: false }),
  );
  writeFileSync(join(folder, "model.safetensors"), encodeSafetensors(tensors));
  return folder;
}
