// Tokenizer files of tiny models.

interface TokenizerOptions {
  /** Of the vocabulary, in the order of their ids. */
  readonly tokens: readonly string[];
  /** Added tokens behind them. */
  readonly special?: readonly string[];
  readonly template?: string;
  readonly decoder?: boolean;
}

/** tokenizer.json and tokenizer_config.json, name to text. */
export function tokenizerFiles({ tokens, special = [], template, decoder = false }: TokenizerOptions): Record<string, string> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const added = special.map((content, i) => ({ id: tokens.length + i, content, ...flags }));
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const tokenizer = { version: "1.0", added_tokens: added, model: { type: "WordLevel", vocab, unk_token: tokens[0] } };
  const config = {
    ...(template !== undefined && { chat_template: template }),
    ...(decoder && { added_tokens_decoder: Object.fromEntries(added.map(({ id, ...entry }) => [id, entry])) }),
  };
  return { "tokenizer.json": JSON.stringify(tokenizer), "tokenizer_config.json": JSON.stringify(config) };
}
