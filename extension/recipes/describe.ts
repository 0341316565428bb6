// Methods and parameters as Markdown, from the same table as the command line's help.
import type { MergeMethod, ParameterSpec } from "../../merge-core/methods/method.ts";
import { legalValues } from "../../merge-core/recipe/resolve-parameters.ts";

/** What a method does, its formula, parameters and paper. */
export function methodText(method: MergeMethod): string {
  const { id, title, summary, formula, paper, parameters } = method;
  const rows = parameters.map((p) => `| \`${p.name}\` | ${defaultText(p)} | ${cell(legalValues(p))} | ${cell(p.doc)} |`);
  return [
    `**${id}**: ${title}`,
    summary,
    `\`\`\`text\n${formula}\n\`\`\``,
    `Base model: ${method.base}.`,
    rows.length === 0 ? "" : ["| Parameter | Default | Values | |", "| --- | --- | --- | --- |", ...rows].join("\n"),
    paper === undefined ? "" : `[${paper.title} (${paper.year})](${paper.url})`,
  ]
    .filter(Boolean)
    .join("\n\n");
}

/** What a parameter means, its values, default and scope. */
export function parameterText(spec: ParameterSpec): string {
  const scope = spec.scope === "model" ? "Can be given for each model, and for all." : "Given for the whole merge, a module or a slice.";
  return `**${spec.name}**: ${spec.doc}\n\n${legalValues(spec)}; ${spec.default === undefined ? "required" : `default ${defaultText(spec)}`}. ${scope}`;
}

function defaultText(spec: ParameterSpec): string {
  if (spec.default === undefined) return "required";
  if (spec.default === null) return "unset";
  return spec.type === "flag" ? String(spec.default === 1) : String(spec.default);
}

const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
