// JSONL examples -> rows of token ids with the place where the loss begins. Node only.
import { readFile } from "node:fs/promises";
import { openError } from "../bytes/file-source.ts";
import { inputError, type SourceRange } from "../diagnostics.ts";
import type { TokenBatch } from "./llama.ts";
import type { TextCodec } from "./tokenizer.ts";

/** A task with an answer, or plain text to model. */
export type Example = { readonly prompt: string; readonly completion: string } | { readonly text: string };

/** Tokens of one sequence where nobody says otherwise: models that allow 131,072 are rarely meant to be given them at once. */
export const DEFAULT_MAX_LENGTH = 2048;

/** One sequence; tokens from index `lossFrom` on are to be predicted. */
export interface TokenRow {
  readonly tokens: readonly number[];
  readonly lossFrom: number;
  /** Which of several tasks it is of. Default 0. */
  readonly task?: number;
}

/**
 * Reads a JSONL file; blank lines are skipped, keys beside prompt, completion and text are ignored.
 * @throws WeightsmithError `file-missing`, `data-syntax`, `data-shape`, each with the line; `data-empty`
 */
export function readExamples(file: string): Promise<Example[]> {
  return readJsonLines(file, '{"prompt": "...", "completion": "..."} or {"text": "..."}', ({ prompt, completion, text }) => {
    if (typeof prompt === "string" && typeof completion === "string") return { prompt, completion };
    return typeof text === "string" ? { text } : undefined;
  });
}

/**
 * Reads a JSONL file with `read`, which answers undefined to a line that is not as `expected` says.
 * @throws WeightsmithError `file-missing`, `data-syntax`, `data-shape`, each with the line; `data-empty`
 */
export async function readJsonLines<T>(file: string, expected: string, read: (line: Readonly<Record<string, unknown>>) => T | undefined): Promise<T[]> {
  const content = await readFile(file, "utf8").catch((error: unknown) => {
    throw openError(file, error);
  });
  const found: T[] = [];
  let offset = 0;
  for (const [line, text] of content.split("\n").entries()) {
    const range = { line, column: 0, endLine: line, endColumn: text.length, offset, end: offset + text.length };
    offset += text.length + 1;
    if (text.trim() === "") continue;
    const value = parseLine(text, file, range);
    const item = typeof value === "object" && value !== null ? read(value as Readonly<Record<string, unknown>>) : undefined;
    if (item === undefined) throw inputError("data-shape", "not an example", { file, range, found: text.slice(0, 80), expected });
    found.push(item);
  }
  if (found.length === 0) throw inputError("data-empty", "no examples", { file, expected: "one JSON object per line" });
  return found;
}

function parseLine(line: string, file: string, range: SourceRange): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw inputError("data-syntax", "not JSON", {
      file,
      range,
      found: error instanceof Error ? error.message : line,
      remedy: "write one JSON object per line",
    });
  }
}

/**
 * Rows of one example, the end token appended. An answer that does not fit `maxLength` tokens gives no row; text that does not
 * is cut into pieces that share one token, so that every token but the first is predicted exactly once.
 */
export function tokenize(example: Example, codec: TextCodec, endToken: number | undefined, maxLength: number): TokenRow[] {
  const end = endToken === undefined ? [] : [endToken];
  if ("text" in example) return cut([...codec.encodeStart(example.text), ...end], maxLength);
  const prompt = codec.encodeStart(example.prompt);
  const tokens = [...joinTokens(prompt, example, codec), ...end];
  // The first token of a sequence has nothing before it to be predicted from.
  return tokens.length > maxLength || tokens.length < 2 ? [] : [{ tokens, lossFrom: Math.max(1, prompt.length) }];
}

/**
 * Prompt and completion as one text, so that a tokenizer which marks the start of words does not see one in the middle; if the
 * prompt's own tokens are not the beginning of that, which is what generation starts from, each by itself.
 */
function joinTokens(prompt: readonly number[], example: { prompt: string; completion: string }, codec: TextCodec): number[] {
  const joint = codec.encodeStart(example.prompt + example.completion);
  return prompt.every((id, i) => joint[i] === id) ? joint : [...prompt, ...codec.encodeMore(example.completion)];
}

function cut(tokens: readonly number[], maxLength: number): TokenRow[] {
  const rows: TokenRow[] = [];
  for (let start = 0; start + 1 < tokens.length; start += maxLength - 1) rows.push({ tokens: tokens.slice(start, start + maxLength), lossFrom: 1 });
  return rows;
}

/** Number of tokens that carry loss. */
export const lossTokens = (rows: readonly TokenRow[]): number => rows.reduce((sum, row) => sum + row.tokens.length - row.lossFrom, 0);

/** Right-pads rows to the longest; each predicted token weighs `weight`. Padding ids do not matter: nothing looks at them. */
export function padRows(rows: readonly TokenRow[], weight: number): TokenBatch {
  const seq = Math.max(...rows.map((row) => row.tokens.length)) - 1;
  const size = rows.length * seq;
  const batch = { batch: rows.length, seq, tokens: new Int32Array(size), targets: new Int32Array(size), weights: new Float32Array(size) };
  for (const [index, { tokens, lossFrom }] of rows.entries()) {
    batch.tokens.set(tokens.slice(0, -1), index * seq);
    batch.targets.set(tokens.slice(1), index * seq);
    batch.weights.fill(weight, index * seq + lossFrom - 1, index * seq + tokens.length - 1);
  }
  return batch;
}
