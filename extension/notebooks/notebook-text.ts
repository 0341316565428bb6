// The text of a new notebook; pure.
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import { methods } from "../../merge-core/methods/registry.ts";
import { yamlText } from "../../merge-core/recipe/recipe-fixes.ts";
import { newRecipeText } from "../recipes/recipe-text.ts";

/** A notebook that runs as it stands: how the models differ, and their plain average. Without models it says what goes into it. */
export function newNotebookText(name: string, models: readonly string[]): string {
  const intro = "Text in Markdown, and cells that run: merge, compare, eval, pareto and train. Paths are relative to this file.";
  return `${[`# ${name}`, intro, ...(models.length > 1 ? cellsFor(models) : [EMPTY])].join("\n\n")}\n`;
}

/** A merge of the models of a comparison, those left out that are merges themselves. */
export function mergeFor({ base, models, merges = [] }: Pick<Comparison, "base" | "models" | "merges">): string {
  const parts = models.filter((_, i) => !merges.includes(i));
  const method = methods.find(({ id }) => id === (base === undefined ? "linear" : "task_arithmetic"));
  return method === undefined ? "" : newRecipeText({ method, base, models: parts.length > 0 ? parts : models });
}

const EMPTY = "```yaml compare models\n# base: ./base\nmodels: []\n```";

function cellsFor(models: readonly string[]): string[] {
  const list = models.map((model) => `  - ${yamlText(model)}`).join("\n");
  const weight = Number((1 / models.length).toFixed(3));
  const parts = models.map((model) => `  - model: ${yamlText(model)}\n    parameters: { weight: ${weight} }`).join("\n");
  return [
    "## How do they differ?",
    `\`\`\`yaml compare models\nmodels:\n${list}\n\`\`\``,
    "## Their average",
    `Later cells use the model that this one makes as \`$merged\`.\n\n\`\`\`yaml merge merged\nmerge_method: linear\nmodels:\n${parts}\ndtype: bfloat16\n\`\`\``,
  ];
}
