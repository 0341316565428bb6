// The files that travel with the weights from the donor: tokenizer, templates, generation settings, processors, model code.

const EXACT = new Set([
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
  "merges.txt",
  "preprocessor_config.json",
  "processor_config.json",
  "sentencepiece.bpe.model",
  "special_tokens_map.json",
  "spiece.model",
  "tekken.json",
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "video_preprocessor_config.json",
  "vocab.json",
  "vocab.txt",
]);

/** Which of a folder's files go into the output unchanged. */
export function travellingFiles(names: readonly string[]): string[] {
  return names.filter((name) => EXACT.has(name) || /\.(py|tiktoken)$/.test(name));
}
