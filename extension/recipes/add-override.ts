// Writes another treatment of some tensors into a recipe's text, leaving every other line as it is. Pure.
import { isMap, isSeq, parseAllDocuments } from "yaml";
import { inputError } from "../../merge-core/diagnostics.ts";
import type { RecipeChange } from "../../webviews/protocol.ts";

export interface TextInsertion {
  readonly offset: number;
  readonly text: string;
}

/**
 * Where to insert what. The first override that fits a tensor decides, so new ones go before those that are there.
 * Tensors to exclude are taken from the base, or without one from the recipe's first model.
 * @throws WeightsmithError `recipe-edit` for text that is no recipe, or whose overrides are written in one line
 */
export function addOverride(text: string, { method, patterns }: RecipeChange): TextInsertion {
  const [document, ...others] = parseAllDocuments(text, { version: "1.1" });
  if (others.length > 0) throw cannot("several recipes in one file", "one recipe");
  if (document === undefined || !("contents" in document) || document.errors.length > 0 || !isMap(document.contents))
    throw cannot("text that is no YAML map", "a recipe without mistakes");
  const base = document.get("base_model") ?? document.getIn(["models", 0, "model"]);
  if (method === undefined && typeof base !== "string") throw cannot("no base_model and no models", "a recipe whose base is known");
  const list = document.get("overrides");
  if (list === undefined || list === null) {
    if (document.has("overrides")) throw cannot("overrides without a list", "no overrides, or a list of them");
    const end = text.trimEnd().length;
    const added = `\noverrides:\n${items(patterns, "  ", method, base)}`;
    return { offset: end, text: text.length > end ? added.trimEnd() : added };
  }
  if (!isSeq(list) || list.flow || list.range == null) throw cannot("overrides in one line", "overrides as a list, one a line");
  // The list begins at its first dash.
  const lineStart = text.lastIndexOf("\n", list.range[0]) + 1;
  return { offset: lineStart, text: items(patterns, text.slice(lineStart, list.range[0]), method, base) };
}

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

const plain = (value: unknown): string => (/^[\w./~-]+$/.test(String(value)) ? String(value) : quoted(String(value)));

function items(patterns: readonly string[], indent: string, method: string | undefined, base: unknown): string {
  const treatment = method === undefined ? [`merge_method: passthrough`, `models: [${plain(base)}]`] : [`merge_method: ${method}`];
  return patterns
    .map((pattern) => `${[`- filter: ${quoted(pattern)}`, ...treatment.map((line) => `  ${line}`)].map((line) => indent + line).join("\n")}\n`)
    .join("");
}

function cannot(found: string, expected: string) {
  return inputError("recipe-edit", "the change cannot be written into this recipe", { found, expected, remedy: "add it to overrides by hand" });
}
