// `chat_template`: auto (the template most inputs have), a built-in name, or Jinja as it stands. Node only.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Diagnostic, WeightsmithError } from "../diagnostics.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";
import { suggestion } from "../recipe/reader.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { CHAT_TEMPLATES } from "./chat-templates.ts";
import type { InputModels } from "./input-models.ts";

/** Shorter texts are misspelt names. */
const SHORTEST = 20;
const LIMITS = { maxBytes: 50_000_000, maxDepth: 64 };

/** The text of the template; undefined without a request, or after a problem was reported. */
export async function chooseChatTemplate(recipe: Recipe, models: InputModels, report: (d: Diagnostic) => void): Promise<string | undefined> {
  const request = recipe.chatTemplate;
  if (request === undefined) return undefined;
  const place = { file: recipe.file, range: request.range };
  if (request.text === "auto") return mostFrequent(models, (d) => report({ ...d, ...place }));
  if (Object.hasOwn(CHAT_TEMPLATES, request.text)) return CHAT_TEMPLATES[request.text];
  if (request.text.length >= SHORTEST && request.text.includes("{")) return request.text;
  const names = ["auto", ...Object.keys(CHAT_TEMPLATES)];
  report({
    code: "chat-template",
    severity: "error",
    message: "this is neither the name of a template nor a template",
    ...place,
    found: request.text,
    expected: `${names.join(", ")}, or Jinja of at least ${SHORTEST} characters with a {`,
    ...suggestion(request.text, names, request.range),
  });
  return undefined;
}

/** Of equally frequent templates the one that comes first in the recipe. */
async function mostFrequent({ checkpoints }: InputModels, report: (d: Diagnostic) => void): Promise<string | undefined> {
  const users = new Map<string, string[]>();
  for (const [reference, { folder }] of checkpoints) {
    const template = (await templateOf(folder))?.trim();
    if (template !== undefined) users.set(template, [...(users.get(template) ?? []), reference]);
  }
  const ranked = [...users].sort(([, a], [, b]) => b.length - a.length);
  const [best] = ranked;
  if (best === undefined) {
    report({
      code: "chat-template-none",
      severity: "warning",
      message: "no model has a chat template, so the output has none",
      expected: "a built-in name or Jinja",
    });
    return undefined;
  }
  report({
    code: "chat-template-chosen",
    severity: "info",
    message: `the chat template is that of ${best[1].join(", ")}`,
    found: `${ranked.length} different templates in ${checkpoints.size} models`,
    notes: ranked.slice(1).map(([, models]) => `another one in ${models.join(", ")}`),
  });
  return best[0];
}

/** A model's template: a file of its own, or a key of tokenizer_config.json (of several, the one named default). */
export async function templateOf(folder: string): Promise<string | undefined> {
  const own = join(folder, "chat_template.jinja");
  if (existsSync(own)) return readFile(own, "utf8");
  for (const name of ["tokenizer_config.json", "chat_template.json"]) {
    const file = join(folder, name);
    const template = existsSync(file) ? templateIn(await readRecord(file)) : undefined;
    if (template !== undefined) return template;
  }
  return undefined;
}

async function readRecord(file: string): Promise<unknown> {
  try {
    return parseJsonBytes(await readFile(file), file, LIMITS);
  } catch (error) {
    if (error instanceof WeightsmithError) return undefined;
    throw error;
  }
}

function templateIn(config: unknown): string | undefined {
  const template = isRecord(config) ? config.chat_template : undefined;
  if (typeof template === "string") return template;
  const named: unknown[] = Array.isArray(template) ? template : [];
  const main = named.filter(isRecord).find(({ name }) => name === "default");
  return typeof main?.template === "string" ? main.template : undefined;
}
