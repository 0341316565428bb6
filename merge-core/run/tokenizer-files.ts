// Writes the tokenizer that a plan asks for: tokens are added to tokenizer.json and its config, the rest stays as it was written.
import { existsSync } from "node:fs";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AddedToken, TOKENIZER_FILE } from "../checkpoints/tokenizer-file.ts";
import { isRecord } from "../formats/json.ts";
import { setJsonValue } from "../formats/json-edit.ts";
import type { TokenizerPlan } from "../plan/plan.ts";

const CONFIG_FILE = "tokenizer_config.json";
const TEMPLATE_FILE = "chat_template.jinja";

/** Names of the files that `writeTokenizer` writes. */
export function tokenizerFileNames({ files, chatTemplate }: TokenizerPlan): string[] {
  return [...files, ...(chatTemplate === undefined ? [] : [TEMPLATE_FILE])];
}

export async function writeTokenizer(plan: TokenizerPlan, folder: string): Promise<void> {
  for (const name of plan.files) {
    const [from, to] = [join(plan.folder, name), join(folder, name)];
    const edit = name === TOKENIZER_FILE ? withTokens : name === CONFIG_FILE ? withConfig : undefined;
    if (edit === undefined || !existsSync(from)) await copyFile(from, to);
    else await writeFile(to, edit(await readFile(from, "utf8"), plan));
  }
  // Newer loaders read the template from a file, older ones from the config.
  if (plan.chatTemplate !== undefined) await writeFile(join(folder, TEMPLATE_FILE), plan.chatTemplate);
}

/** tokenizer.json with the added tokens behind those it has. */
export function withTokens(text: string, { added }: Pick<TokenizerPlan, "added">): string {
  if (added.length === 0) return text;
  const { added_tokens: held } = JSON.parse(text) as { added_tokens?: AddedToken[] };
  return setJsonValue(text, ["added_tokens"], [...(held ?? []), ...added]);
}

function withConfig(text: string, { added, chatTemplate }: TokenizerPlan): string {
  const config: unknown = JSON.parse(text);
  const templated = chatTemplate === undefined ? text : setJsonValue(text, ["chat_template"], chatTemplate);
  if (!isRecord(config) || !isRecord(config.added_tokens_decoder) || added.length === 0) return templated;
  const entries = added.map(({ id, ...entry }) => [String(id), entry] as const);
  return setJsonValue(templated, ["added_tokens_decoder"], { ...config.added_tokens_decoder, ...Object.fromEntries(entries) });
}
