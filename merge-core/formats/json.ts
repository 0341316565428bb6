// JSON from files nobody vouches for: bounded depth and size, no duplicate keys, UTF-8 or nothing.
import { inputError } from "../diagnostics.ts";

export interface JsonLimits {
  readonly maxBytes: number;
  readonly maxDepth: number;
  /** Read `NaN`, `Infinity` and `-Infinity` as numbers: no JSON, but what Python writes, as in the time_step_limit of Mamba configs. */
  readonly nonFinite?: boolean;
}

/** Decodes and parses `bytes`. @throws WeightsmithError `json-too-large`, `json-not-utf8`, `json-too-deep`, `json-duplicate-key`, `json-syntax` */
export function parseJsonBytes(bytes: Uint8Array, file: string, limits: JsonLimits): unknown {
  if (bytes.byteLength > limits.maxBytes) {
    throw inputError("json-too-large", "JSON is larger than any real file of its kind", {
      file,
      found: `${bytes.byteLength} bytes`,
      expected: `at most ${limits.maxBytes}`,
    });
  }
  return parseStrictJson(decodeUtf8(bytes, file), file, limits);
}

function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw inputError("json-not-utf8", "JSON is not valid UTF-8", { file, notes: [String(cause)] });
  }
}

/** Parses text; depth and duplicates are checked first, because JSON.parse hides the one and spends memory on the other. */
function parseStrictJson(text: string, file: string, { maxDepth, nonFinite = false }: JsonLimits): unknown {
  scan(text, file, maxDepth);
  try {
    return nonFinite && /NaN|Infinity/.test(text) ? parseNonFinite(text) : JSON.parse(text);
  } catch (cause) {
    throw inputError("json-syntax", "not valid JSON", { file, found: cause instanceof Error ? cause.message : String(cause) });
  }
}

/** Stands for NaN, which no JSON number gives; a text that holds it is not from Python's writer, which escapes it. */
const NAN = "\ufdd0NaN";

function parseNonFinite(text: string): unknown {
  const words: Readonly<Record<string, string>> = { NaN: JSON.stringify(NAN), Infinity: "1e999", "-Infinity": "-1e999" };
  const legal = text.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b(?!\s*:)/gs, (word) => words[word] ?? word);
  return JSON.parse(legal, (_, value: unknown) => (value === NAN ? Number.NaN : value));
}

/** Keys of one open object; a list while they are few, as in the hundred thousand entries of a large header. */
interface Keys {
  list: string[];
  set: Set<string> | undefined;
}

const FEW_KEYS = 8;

/** Walks brackets and strings only: in valid JSON a string followed by a colon is a key, and JSON.parse refuses the rest. */
function scan(text: string, file: string, maxDepth: number): void {
  const open: Keys[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === OPEN_OBJECT || c === OPEN_LIST) {
      if (open.push({ list: [], set: undefined }) > maxDepth)
        throw inputError("json-too-deep", "JSON is nested too deeply", { file, expected: `at most ${maxDepth} levels` });
    } else if (c === CLOSE_OBJECT || c === CLOSE_LIST) open.pop();
    else if (c === QUOTE) {
      const end = stringEnd(text, i);
      if (followedByColon(text, end)) addKey(open.at(-1), text.slice(i, end), file);
      i = end - 1;
    }
  }
}

const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST, QUOTE] = [0x7b, 0x7d, 0x5b, 0x5d, 0x22];

/** Index just after the closing quote of the string that opens at `start`. */
function stringEnd(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return Math.min(i + 1, text.length);
}

function followedByColon(text: string, from: number): boolean {
  let i = from;
  while (text[i] === " " || text[i] === "\n" || text[i] === "\r" || text[i] === "\t") i++;
  return text[i] === ":";
}

function addKey(keys: Keys | undefined, literal: string, file: string): void {
  const key = decodeKey(literal);
  if (keys === undefined) return;
  if (keys.set?.has(key) ?? keys.list.includes(key))
    throw inputError("json-duplicate-key", "a name occurs twice in one JSON object", {
      file,
      found: key,
      remedy: "the file is damaged or hostile; get it again",
    });
  if (keys.set === undefined && keys.list.push(key) > FEW_KEYS) keys.set = new Set(keys.list);
  else keys.set?.add(key);
}

/** Escapes are decoded so that `"\u0061"` and `"a"` count as the same name. */
function decodeKey(literal: string): string {
  if (!literal.includes("\\")) return literal.slice(1, -1);
  try {
    return String(JSON.parse(literal));
  } catch {
    return literal;
  }
}

/** A JSON object, neither null nor an array. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
