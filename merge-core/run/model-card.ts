import { findMethod } from "../methods/registry.ts";
import type { MergePlan } from "../plan/plan.ts";
import { VERSION } from "../version.ts";

/** A repository on the Hugging Face hub, as opposed to a path. */
const HUB_NAME = /^[A-Za-z0-9][\w.-]*\/(?!.*\.(safetensors|bin|pt|pth|ckpt|json)$)[\w.-]+$/;

/** README.md of a merged model: the front matter and sections that hub users know from mergekit, with the recipe in full. */
export function modelCard(plan: MergePlan, name: string): string {
  const references = plan.models.filter(({ statistics }) => statistics === undefined).map((model) => model.reference);
  const hubNames = references.filter((reference) => HUB_NAME.test(reference));
  const base = baseOf(plan);
  // What a command makes of a model is no merge.
  if (plan.method === "align" || plan.method === "share") return commandCard(plan, name, references, hubNames);
  return `---
${hubNames.length === 0 ? "" : `base_model:\n${hubNames.map((n) => `- ${n}`).join("\n")}\n`}${plan.donor.hasConfig ? "library_name: transformers\n" : ""}tags:
- mergekit
- merge
- weightsmith
---
# ${oneLine(name)}

This is a merge of ${plan.donor.hasConfig ? "pre-trained models" : "files of tensors"} made with weightsmith ${VERSION}.

## Merge Details
### Merge Method

This model was merged with the ${methodLink(plan.method)} method${base === undefined ? "" : `, using ${oneLine(base)} as the base`}.

### Models Merged

${references.map((reference) => `* ${linkTo(reference)}`).join("\n")}

### Configuration

The following configuration produced this model (seed ${plan.seed}, plan ${plan.planHash.slice(0, 16)}):

${fence(plan.recipe.text)}
`;
}

function commandCard(plan: MergePlan, name: string, references: readonly string[], hubNames: readonly string[]): string {
  return `---
${hubNames.length === 0 ? "" : `base_model:\n${hubNames.map((n) => `- ${n}`).join("\n")}\n`}${plan.donor.hasConfig ? "library_name: transformers\n" : ""}tags:
- weightsmith
---
# ${oneLine(name)}

Made with \`weightsmith ${plan.method}\` (version ${VERSION}) from

${references.map((reference) => `* ${linkTo(reference)}`).join("\n")}

with these settings:

${fence(plan.recipe.text)}
`;
}

function baseOf(plan: MergePlan): string | undefined {
  for (const job of plan.jobs) {
    const base = job.kind === "merge" ? job.inputs.find((input) => input.isBase) : undefined;
    if (base !== undefined) return base.model;
  }
  return undefined;
}

function methodLink(id: string): string {
  const paper = findMethod(id)?.paper;
  return paper === undefined ? id : `[${id}](${paper.url})`;
}

function linkTo(reference: string): string {
  return HUB_NAME.test(reference) ? `[${reference}](https://huggingface.co/${reference})` : oneLine(reference);
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}

/** A code block whose fence is longer than any run of backticks inside. */
function fence(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map((match) => match[0].length));
  const ticks = "`".repeat(longest + 1);
  return `${ticks}yaml\n${text.trimEnd()}\n${ticks}`;
}
