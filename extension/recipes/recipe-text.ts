// Which documents are recipes, and the text of a new one; pure.
import type { MergeMethod } from "../../merge-core/methods/method.ts";
import { startValue, yamlText } from "../../merge-core/recipe/recipe-fixes.ts";

/** Only the start of a file is looked at, so that opening a large YAML file costs nothing. */
const HEAD_CHARACTERS = 64 * 1024;

/** By name, or a YAML file that says how to merge. */
export function isRecipe(path: string, languageId: string, head: string): boolean {
  if (/\.merge\.ya?ml$/i.test(path)) return true;
  return languageId === "yaml" && /^(["']?)merge_method\1\s*:/m.test(head.slice(0, HEAD_CHARACTERS));
}

export interface NewRecipe {
  readonly method: MergeMethod;
  /** References as the recipe is to name them. */
  readonly base: string | undefined;
  readonly models: readonly string[];
}

/** A recipe that is complete as it stands: required parameters are there with values to start from. */
export function newRecipeText({ method, base, models }: NewRecipe): string {
  const required = method.parameters.filter((p) => p.default === undefined);
  const value = (p: (typeof required)[number]) => `${p.name}: ${startValue(p, models.length)}`;
  const perModel = required.filter((p) => p.scope === "model").map(value);
  const shared = required.filter((p) => p.scope === "global").map(value);
  const listed = method.base === "one-of" && base !== undefined && !models.includes(base) ? [base, ...models] : models;
  const parameters = perModel.length === 0 ? "" : `\n    parameters:\n${perModel.map((line) => `      ${line}`).join("\n")}`;
  // Where the command that makes the file would be told to write it.
  const statistics = (model: string) => (method.data === undefined ? "" : `\n    ${method.data}: ${yamlText(`${model}.${method.data}.safetensors`)}`);
  const lines = [
    `# ${method.title}: ${method.summary}`,
    `merge_method: ${method.id}`,
    ...(base === undefined ? [] : [`base_model: ${yamlText(base)}`]),
    "models:",
    ...listed.map((model) => `  - model: ${yamlText(model)}${statistics(model)}${parameters}`),
    ...(shared.length === 0 ? [] : ["parameters:", ...shared.map((line) => `  ${line}`)]),
    "dtype: bfloat16",
  ];
  return `${lines.join("\n")}\n`;
}
