// The keys of a recipe about its vocabulary: `tokenizer_source`, the `tokenizer` map, `chat_template`.
import { isMap, isScalar } from "yaml";
import { readReference } from "./read-models.ts";
import { type Field, type Fields, numberIn, type Reader, suggestion } from "./reader.ts";
import type { Recipe, TokenizerRequest, TokenRequest, TokenSource } from "./recipe.ts";

/** The request of either form; giving both is an error. */
export function readTokenizer(reader: Reader, fields: Fields): TokenizerRequest | undefined {
  const short = fields.get("tokenizer_source");
  const full = fields.get("tokenizer");
  if (short !== undefined && full !== undefined) {
    reader.report("tokenizer-conflict", "tokenizer and tokenizer_source cannot both be given", short.keyRange, {
      remedy: "move the source into tokenizer: {source: ...}",
    });
    return undefined;
  }
  if (full?.value !== undefined) return readTokenizerMap(reader, full);
  const source = short?.value === undefined ? undefined : readSource(reader, short);
  return short === undefined || source === undefined ? undefined : { source, tokens: [], padToMultipleOf: undefined, range: short.keyRange };
}

function readTokenizerMap(reader: Reader, field: Field): TokenizerRequest | undefined {
  const fields = reader.fields(field.value, "tokenizer", field.keyRange, { keys: ["source", "tokens", "pad_to_multiple_of"] });
  if (fields === undefined) return undefined;
  const given = fields.get("source");
  const source = given?.value === undefined ? "union" : readSource(reader, given);
  const tokens = readTokens(reader, fields.get("tokens"));
  const padToMultipleOf = readMultiple(reader, fields.get("pad_to_multiple_of"));
  return source === undefined ? undefined : { source, tokens, padToMultipleOf, range: field.keyRange };
}

function readSource(reader: Reader, field: Field): TokenizerRequest["source"] | undefined {
  const word = isScalar(field.value) ? reader.text(field.value, field.key, field.keyRange) : undefined;
  if (word === "union" || word === "base") return word;
  return readReference(reader, field.value, field.key, field.keyRange);
}

function readMultiple(reader: Reader, field: Field | undefined): number | undefined {
  if (field?.value === undefined) return undefined;
  const value = numberIn(field.value);
  if (value !== undefined && Number.isInteger(value) && value > 0 && value <= MOST_PADDING) return value;
  reader.wrongType(field.value, field.key, `a whole number from 1 to ${MOST_PADDING}`, field.keyRange);
  return undefined;
}

/** Far beyond any hardware's liking; keeps a slip of the keyboard from asking for terabytes. */
const MOST_PADDING = 1 << 20;

function readTokens(reader: Reader, field: Field | undefined): TokenRequest[] {
  if (field?.value === undefined) return [];
  return [...(reader.entries(field.value, "tokens", field.keyRange)?.values() ?? [])].flatMap((entry) => readToken(reader, entry));
}

function readToken(reader: Reader, entry: Field): TokenRequest[] {
  const { key: token, keyRange: range } = entry;
  if (entry.value === undefined) return [{ token, source: undefined, force: false, range }];
  const fields = reader.fields(entry.value, `token ${token}`, range, { keys: ["source", "force"] });
  if (fields === undefined) return [];
  const given = fields.get("source");
  const source = given?.value === undefined ? undefined : readTokenSource(reader, given);
  const forced = fields.get("force");
  const force = forced?.value === undefined ? 0 : numberIn(forced.value);
  if (forced !== undefined && force !== 0 && force !== 1) reader.wrongType(forced.value, "force", "true or false", forced.keyRange);
  if (force === 1 && given === undefined) reader.report("missing-key", `token ${token} is forced to no source`, range, { expected: "source and force" });
  return [{ token, source, force: force === 1, range }];
}

const KINDS = ["model_token", "zero"];

/** A model, or a map with a `kind`. */
function readTokenSource(reader: Reader, field: Field): TokenSource | undefined {
  if (!isMap(field.value) || !field.value.items.some(({ key }) => isScalar(key) && key.value !== "model" && key.value !== "lora")) {
    const model = readReference(reader, field.value, "source", field.keyRange);
    return model === undefined ? undefined : { kind: "model", model };
  }
  const fields = reader.fields(field.value, "the source of a token", field.keyRange, { keys: ["kind", "model", "token", "token_id"] });
  const kindField = fields?.get("kind");
  const kind = kindField === undefined ? "model_token" : reader.text(kindField.value, "kind", kindField.keyRange);
  if (fields === undefined || kind === undefined) return undefined;
  if (kind === "zero") return { kind: "zero" };
  if (kind === "model_token") return readModelToken(reader, field, fields);
  const range = kindField?.value === undefined ? field.keyRange : reader.rangeOf(kindField.value);
  reader.report("token-source", "there is no such kind of source", range, { found: kind, expected: KINDS.join(", "), ...suggestion(kind, KINDS, range) });
  return undefined;
}

function readModelToken(reader: Reader, field: Field, fields: Fields): TokenSource | undefined {
  const mention = fields.get("model");
  const [token, id] = [fields.get("token"), fields.get("token_id")];
  const range = field.value === undefined ? field.keyRange : reader.rangeOf(field.value);
  if (mention === undefined) reader.report("missing-key", "the source of a token names no model", range, { expected: "model: a path" });
  if ((token === undefined) === (id === undefined))
    reader.report("token-source", "the source of a token needs either token or token_id", range, {
      found: token === undefined ? "neither" : "both",
      expected: "one of token, token_id",
    });
  const model = mention === undefined ? undefined : readReference(reader, mention.value, "model", mention.keyRange);
  if (model === undefined || (token === undefined) === (id === undefined)) return undefined;
  if (token !== undefined) {
    const text = reader.text(token.value, "token", token.keyRange);
    return text === undefined ? undefined : { kind: "token", model, token: text };
  }
  const number = numberIn(id?.value);
  if (number !== undefined && Number.isInteger(number) && number >= 0) return { kind: "token", model, id: number };
  reader.wrongType(id?.value, "token_id", "a whole number of at least 0", id?.keyRange ?? range);
  return undefined;
}

export function readChatTemplate(reader: Reader, field: Field | undefined): Recipe["chatTemplate"] {
  if (field?.value === undefined) return undefined;
  const text = reader.text(field.value, "chat_template", field.keyRange);
  return text === undefined ? undefined : { text, range: reader.rangeOf(field.value) };
}
