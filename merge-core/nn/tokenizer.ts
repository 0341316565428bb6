// Text to token ids and back by a Hugging Face tokenizer.json. Node only.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { inputError } from "../diagnostics.ts";

export interface TextCodec {
  /** Ids of the start of a sequence: with whatever the tokenizer puts in front of text (BOS), without what it puts behind. */
  encodeStart(text: string): number[];
  /** Ids of text that follows other text: nothing added. */
  encodeMore(text: string): number[];
  /** Text of ids, special tokens left out. */
  decode(ids: readonly number[]): string;
}

/** @param tokenizer parsed tokenizer.json @param config parsed tokenizer_config.json */
export function createTextCodec(tokenizer: object, config: object = {}): TextCodec {
  const inner = new Tokenizer(tokenizer, config);
  const bare = (text: string): number[] => inner.encode(text, { add_special_tokens: false }).ids;
  const prefix = idsBefore(inner.encode(PROBE).ids, bare(PROBE));
  return {
    encodeStart: (text) => [...prefix, ...bare(text)],
    encodeMore: bare,
    decode: (ids) => (ids.length === 0 ? "" : inner.decode([...ids], { skip_special_tokens: true })),
  };
}

/** A text that every vocabulary can spell. */
const PROBE = "a";

/** What a tokenizer put in front of `bare`; all of `whole` if the tokenizer has no tokens for the probe. */
function idsBefore(whole: readonly number[], bare: readonly number[]): number[] {
  const at = whole.findIndex((_, i) => bare.length > 0 && bare.every((id, j) => whole[i + j] === id));
  return whole.slice(0, at < 0 ? undefined : at);
}

/** The tokenizer of a model folder. @throws WeightsmithError `tokenizer-missing`, `tokenizer-invalid` */
export async function readTextCodec(folder: string): Promise<TextCodec> {
  const file = join(folder, "tokenizer.json");
  const tokenizer = await readJsonObject(file);
  if (tokenizer === undefined) {
    throw inputError("tokenizer-missing", "the model has no tokenizer", { file, remedy: "put the tokenizer.json of the model's family into the folder" });
  }
  try {
    return createTextCodec(tokenizer, (await readJsonObject(join(folder, "tokenizer_config.json"))) ?? {});
  } catch (error) {
    throw inputError("tokenizer-invalid", "the tokenizer cannot be used", { file, found: error instanceof Error ? error.message : String(error) });
  }
}

async function readJsonObject(file: string): Promise<object | undefined> {
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Reported below, together with JSON that is not an object.
  }
  throw inputError("tokenizer-invalid", "not a JSON object", { file });
}
