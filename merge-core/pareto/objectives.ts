// What a search measures of each merge: any metric of `eval`, or a size that the plan tells without making the merge. Node only.
import { WeightsmithError } from "../diagnostics.ts";
import { type Evaluator, type EvaluatorOptions, type MetricSpec, openEvaluator, planRecipe, readMetric } from "../evaluate/evaluators.ts";
import type { RecipeText } from "../evaluate/recipe-merge.ts";
import { hashMetric } from "../evaluate/score-cache.ts";
import { elementCount } from "../formats/dtypes.ts";
import type { MergePlan } from "../plan/plan.ts";
import { asObject, type ConfigPlace, configError } from "./config-values.ts";
import type { FrontObjective } from "./front-file.ts";
import type { Link } from "./surrogate.ts";

const SIZES: Readonly<Record<string, (plan: MergePlan) => number>> = {
  parameters: (plan) => plan.jobs.reduce((sum, job) => sum + elementCount(job.shape), 0),
  bytes: (plan) => plan.bytesToWrite,
};

export interface Objective extends FrontObjective {
  readonly link: Link;
  /** Absent for sizes. */
  readonly spec?: MetricSpec;
}

/** The list `objectives` of a configuration. @throws WeightsmithError `config-invalid-value`, and as `readMetric` */
export function readObjectives(value: unknown, place: ConfigPlace, key = "objectives"): Objective[] {
  if (!Array.isArray(value) || value.length === 0) throw configError(place, key, value, "a list of metrics, such as {metric: exact_match, data: test.jsonl}");
  const objectives = value.map((item: unknown) => readObjective(item, place));
  const names = objectives.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw configError(place, key, twice, "a different name for each, by its key name");
  return objectives;
}

function readObjective(item: unknown, place: ConfigPlace): Objective {
  const { metric, name, ...rest } = asObject(item) ?? {};
  if (typeof metric === "string" && Object.hasOwn(SIZES, metric)) {
    if (Object.keys(rest).length > 0) throw configError(place, `objectives: ${metric}`, Object.keys(rest)[0], "the key name and nothing else");
    return { name: typeof name === "string" ? name : metric, metric, direction: "minimize", link: "identity" };
  }
  const spec = readMetric(item, place.resolve, place.file);
  const direction = spec.direction === "min" ? "minimize" : "maximize";
  return { name: spec.name, direction, metric: spec.kind === "builtin" ? spec.metric : spec.kind, source: sourceOf(spec), link: linkOf(spec), spec };
}

function sourceOf(spec: MetricSpec): string {
  if (spec.kind === "builtin") return spec.data.map((file) => file.split(/[\\/]/).at(-1)).join(", ");
  if (spec.kind === "harness") return spec.task;
  return typeof spec.command === "string" ? spec.command : spec.command.join(" ");
}

/** Fractions lie between 0 and 1, losses above 0; of a user's number nothing is known. */
function linkOf(spec: MetricSpec): Link {
  if (spec.kind !== "builtin") return "identity";
  return spec.metric === "loss" || spec.metric === "entropy" || spec.metric === "perplexity" ? "softplus" : "sigmoid";
}

/** Measures some of the objectives of one merge, by name. */
export type MeasureRecipe = (recipe: RecipeText, objectives: readonly Objective[]) => Promise<Record<string, number>>;

/** Reads the objectives' data once. */
export async function openObjectives(all: readonly Objective[], options: EvaluatorOptions): Promise<MeasureRecipe> {
  // An evaluator measures all that it was opened for, so every combination asked for gets one of its own.
  const evaluators = new Map<string, Promise<Evaluator>>();
  const evaluatorOf = (wanted: readonly Objective[]): Promise<Evaluator> => {
    const specs = wanted.flatMap(({ spec }) => spec ?? []);
    const key = JSON.stringify(specs.map(({ name }) => name));
    const known = evaluators.get(key) ?? openEvaluator(specs, options);
    evaluators.set(key, known);
    return known;
  };
  // Bad data is better found before the first merge.
  if (all.some(({ spec }) => spec !== undefined)) await evaluatorOf(all);
  return async (recipe, wanted) => {
    const plan = await planRecipe(recipe, options);
    const sizes = Object.fromEntries(wanted.flatMap(({ name, metric, spec }) => (spec === undefined ? [[name, SIZES[metric]?.(plan) ?? Number.NaN]] : [])));
    if (!wanted.some(({ spec }) => spec !== undefined)) return sizes;
    return { ...sizes, ...(await (await evaluatorOf(wanted)).plan(plan)) };
  };
}

/** What the numbers depend on besides the weights. */
export const hashObjectives = (objectives: readonly Objective[]): Promise<string[]> =>
  Promise.all(objectives.map(async ({ metric, spec }) => (spec === undefined ? metric : hashMetric(spec))));

/** The first problem in one line, for the journal. */
export function reasonOf(error: unknown): string {
  if (error instanceof WeightsmithError)
    return `${error.code}: ${error.diagnostics[0]?.message ?? ""}${error.diagnostics[0]?.found ? ` (${error.diagnostics[0].found})` : ""}`;
  return error instanceof Error ? error.message : String(error);
}
