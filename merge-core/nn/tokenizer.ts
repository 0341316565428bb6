// Text to token ids and back by a Hugging Face tokenizer.json. Node only.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { inputError } from "../diagnostics.ts";

export interface TextCodec {
  /** Ids of the start of a sequence: with whatever the tokenizer puts in front of text (BOS). */
  encodeStart(text: string): number[];
  /** Ids of text that follows other text: nothing added. */
  encodeMore(text: string): number[];
  /** Text of ids, special tokens left out. */
  decode(ids: readonly number[]): string;
}

/** @param tokenizer parsed tokenizer.json @param config parsed tokenizer_config.json */
export function createTextCodec(tokenizer: object, config: object = {}): TextCodec {
  const inner = new Tokenizer(tokenizer, config);
  return {
    encodeStart: (text) => inner.encode(text).ids,
    encodeMore: (text) => inner.encode(text, { add_special_tokens: false }).ids,
    decode: (ids) => (ids.length === 0 ? "" : inner.decode([...ids], { skip_special_tokens: true })),
  };
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
