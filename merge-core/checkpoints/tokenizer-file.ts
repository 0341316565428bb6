// tokenizer.json: which tokens a model knows and their numbers. Node only.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { inputError } from "../diagnostics.ts";
import { isRecord, type JsonLimits, parseJsonBytes } from "../formats/json.ts";

export const TOKENIZER_FILE = "tokenizer.json";

/** The largest vocabularies of the field (262 144 tokens with merges) take 35 MB. */
const LIMITS: JsonLimits = { maxBytes: 200_000_000, maxDepth: 64 };
/** Above any vocabulary of the field; keeps a hostile file from asking for terabytes of rows. */
const MAX_TOKEN_ID = (1 << 24) - 1;

/** An entry of `added_tokens`: text that is found before any other splitting. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

export interface Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  readonly added: readonly AddedToken[];
  /** Entries of the model's own vocabulary, without added tokens. */
  readonly modelSize: number;
}

/** The vocabulary of a model's folder; undefined without a tokenizer.json. @throws WeightsmithError `tokenizer-invalid`, `json-*` */
export async function readVocabulary(folder: string): Promise<Vocabulary | undefined> {
  const file = join(folder, TOKENIZER_FILE);
  if (!existsSync(file)) return undefined;
  return parseVocabulary(parseJsonBytes(await readFile(file), file, LIMITS), file);
}

/** Reads the parsed tokenizer.json: BPE, WordPiece and WordLevel map tokens to numbers, Unigram lists them with scores. */
export function parseVocabulary(json: unknown, file: string): Vocabulary {
  const invalid = (found: string) =>
    inputError("tokenizer-invalid", "tokenizer.json is not one of a fast tokenizer", { file, found, expected: "model.vocab and added_tokens" });
  if (!isRecord(json) || !isRecord(json.model)) throw invalid("no model");
  const { vocab } = json.model;
  const entries: [unknown, unknown][] = Array.isArray(vocab)
    ? vocab.map((entry: unknown, id) => [Array.isArray(entry) ? entry[0] : undefined, id])
    : isRecord(vocab)
      ? Object.entries(vocab)
      : [];
  const ids = new Map<string, number>();
  for (const [token, id] of entries) {
    if (typeof token !== "string" || !isTokenId(id)) throw invalid(`token ${JSON.stringify(token)} with id ${JSON.stringify(id)}`);
    ids.set(token, id);
  }
  if (ids.size === 0) throw invalid("no vocabulary");
  const modelSize = ids.size;
  const added = (Array.isArray(json.added_tokens) ? json.added_tokens : []).map((entry: unknown) => {
    if (!isRecord(entry) || typeof entry.content !== "string" || !isTokenId(entry.id)) throw invalid(`added token ${JSON.stringify(entry)}`);
    const flag = (key: string) => entry[key] === true;
    const flags = {
      single_word: flag("single_word"),
      lstrip: flag("lstrip"),
      rstrip: flag("rstrip"),
      normalized: flag("normalized"),
      special: flag("special"),
    };
    ids.set(entry.content, entry.id);
    return { id: entry.id, content: entry.content, ...flags };
  });
  return { ids, added, modelSize };
}

const isTokenId = (id: unknown): id is number => typeof id === "number" && Number.isInteger(id) && id >= 0 && id <= MAX_TOKEN_ID;
