// A tokenizer with one token per byte, as a Hugging Face tokenizer.json: byte-level BPE without merges.

export const SPECIAL_TOKENS = { unknown: "<unk>", start: "<s>", end: "</s>", padding: "<pad>" } as const;
export const END_ID = 2;
export const START_ID = 1;
export const PADDING_ID = 3;
export const VOCABULARY_SIZE = Object.keys(SPECIAL_TOKENS).length + 256;

/**
 * The printable character that byte-level BPE writes for each byte (Radford et al. 2019): bytes that print stand for themselves,
 * the others take the code points from 256 on, in order.
 */
export function byteCharacters(): string[] {
  const prints = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(prints(byte) ? byte : next++));
}

/** tokenizer.json: ids 0 to 3 are special, id 4 + b is byte b. */
export function byteTokenizer(): object {
  const special = Object.values(SPECIAL_TOKENS);
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries([...special, ...byteCharacters()].map((token, id) => [token, id])),
      merges: [],
    },
  };
}

export function byteTokenizerConfig(maxLength: number): object {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: SPECIAL_TOKENS.start,
    eos_token: SPECIAL_TOKENS.end,
    pad_token: SPECIAL_TOKENS.padding,
    unk_token: SPECIAL_TOKENS.unknown,
    clean_up_tokenization_spaces: false,
    model_max_length: maxLength,
  };
}
