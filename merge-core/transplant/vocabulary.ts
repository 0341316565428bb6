// Tokens of two tokenizers made comparable: the mark of a word's start is one whatever its letter, and special tokens are known by
// their role. Node only.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readVocabulary } from "../checkpoints/tokenizer-file.ts";
import { inputError } from "../diagnostics.ts";
import { isRecord } from "../formats/json.ts";

const ROLES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const WORD = "\0word ";
const SPECIAL = "\0special ";

export interface ComparableVocabulary {
  /** Token number by comparable form. */
  readonly ids: ReadonlyMap<string, number>;
  /** One more than the highest number. */
  readonly size: number;
}

/** @throws WeightsmithError `tokenizer-missing`, `tokenizer-invalid` */
export async function readComparable(folder: string): Promise<ComparableVocabulary> {
  const vocabulary = await readVocabulary(folder);
  if (vocabulary === undefined)
    throw inputError("tokenizer-missing", "the model has no tokenizer.json", { file: folder, remedy: "put the one of the model's family there" });
  const roles = await readRoles(folder);
  const tokens = [...vocabulary.ids.keys()];
  const count = (mark: string) => tokens.filter((token) => token.startsWith(mark)).length;
  const mark = count("▁") > count("Ġ") ? "▁" : "Ġ";
  const ids = new Map<string, number>();
  let size = tokens.length;
  for (const [token, id] of vocabulary.ids) {
    const role = roles.get(token);
    ids.set(token.startsWith(mark) ? WORD + token.slice(mark.length) : role === undefined ? token : SPECIAL + role, id);
    size = Math.max(size, id + 1);
  }
  return { ids, size };
}

/** Which tokens play which role, by the tokenizer's own files; the first role counts. */
async function readRoles(folder: string): Promise<Map<string, string>> {
  const roles = new Map<string, string>();
  for (const name of ["tokenizer_config.json", "special_tokens_map.json"]) {
    const text = await readFile(join(folder, name), "utf8").catch(() => "{}");
    const json = parse(text, join(folder, name));
    for (const role of ROLES) {
      const entry = json[role];
      const token = isRecord(entry) ? entry.content : entry;
      if (typeof token === "string" && !roles.has(token)) roles.set(token, role);
    }
  }
  return roles;
}

function parse(text: string, file: string): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(text);
    if (isRecord(json)) return json;
  } catch {
    // Reported below, together with JSON that is not an object.
  }
  throw inputError("tokenizer-invalid", "not a JSON object", { file });
}

/** The text that a comparable form stands for; undefined for special tokens, which have none. */
export function textOf(form: string): string | undefined {
  if (form.startsWith(SPECIAL)) return undefined;
  return form.startsWith(WORD) ? ` ${form.slice(WORD.length)}` : form;
}

/** The number of the byte of a one-letter token, or of the letter of a byte's token. */
export function byteMatch(form: string, ids: ReadonlyMap<string, number>): number | undefined {
  const code = form.codePointAt(0) ?? 256;
  if (form.length === 1 && code < 256) return ids.get(`<0x${code.toString(16).toUpperCase().padStart(2, "0")}>`);
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(form)?.[1];
  return byte === undefined ? undefined : ids.get(String.fromCharCode(Number.parseInt(byte, 16)));
}

/** The number of the longest token that this one begins with. */
export function prefixMatch(form: string, ids: ReadonlyMap<string, number>): number | undefined {
  if (form.startsWith(SPECIAL)) return undefined;
  const [head, letters] = form.startsWith(WORD) ? [WORD, [...form.slice(WORD.length)]] : ["", [...form]];
  for (let length = letters.length - 1; length > 0; length--) {
    const prefix = letters.slice(0, length).join("");
    if (prefix.trim() === "") return undefined;
    const id = ids.get(head + prefix);
    if (id !== undefined) return id;
  }
  return undefined;
}
