// What the demo measures, as data: results.json, and what the report and the printed table derive from it. Pure.
import type { DemoProbes } from "./demo-probes.ts";

export interface MeasuredModel {
  readonly name: string;
  readonly kind: "base" | "expert" | "merge";
  /** Of an expert: the task it was trained on. */
  readonly task?: string;
  /** Of a merge: the method id. */
  readonly method?: string;
  /** By task, the fraction of test answers that are exactly right. */
  readonly exactMatch: Readonly<Record<string, number>>;
  /** Over the tasks. */
  readonly mean: number;
  /** Of a merge that draws at random: how many seeds the numbers are means of, and the standard deviation of `mean` over them. */
  readonly seeds?: number;
  readonly spread?: number;
}

/** One merge of two experts, measured on their tasks. */
export interface WeightPoint {
  /** Of the second expert; the first has the rest to 1. */
  readonly weight: number;
  readonly exactMatch: Readonly<Record<string, number>>;
}

export interface DemoResults {
  /** Marks a folder as the demo's own, so that it may be replaced. */
  readonly format: "weightsmith-demo";
  readonly weightsmith: string;
  readonly tasks: readonly string[];
  /** Test examples per task. */
  readonly examples: Readonly<Record<string, number>>;
  readonly models: readonly MeasuredModel[];
  readonly tradeOff: { readonly method: string; readonly tasks: readonly [string, string]; readonly points: readonly WeightPoint[] };
  /** Of the demo of all methods. */
  readonly probes?: DemoProbes;
  /** Recipe text by name of merge. */
  readonly recipes: Readonly<Record<string, string>>;
}

export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Mean over tasks of a model's exact match divided by that of the task's expert: 1 is as good as all experts together. */
export function relativeToExperts(model: MeasuredModel, models: readonly MeasuredModel[]): number {
  const experts = models.filter((other) => other.kind === "expert");
  return mean(experts.map(({ task = "", exactMatch }) => (model.exactMatch[task] ?? Number.NaN) / (exactMatch[task] ?? Number.NaN)));
}

/** One row for several measurements of a merge that differ in the seed. */
export function overSeeds(runs: readonly Pick<MeasuredModel, "exactMatch" | "mean">[]): Pick<MeasuredModel, "exactMatch" | "mean" | "seeds" | "spread"> {
  const [first] = runs;
  if (first === undefined) throw new RangeError("no measurements");
  if (runs.length === 1) return first;
  const exactMatch = Object.fromEntries(Object.keys(first.exactMatch).map((task) => [task, mean(runs.map((run) => run.exactMatch[task] ?? Number.NaN))]));
  const means = runs.map((run) => run.mean);
  const centre = mean(means);
  const spread = Math.sqrt(means.reduce((sum, x) => sum + (x - centre) ** 2, 0) / (runs.length - 1));
  return { exactMatch, mean: mean(Object.values(exactMatch)), seeds: runs.length, spread };
}

const percent = (fraction: number) => (100 * fraction).toFixed(1);

/** Header and rows of the table: exact match in percent per task, their mean, the mean relative to the experts, and where merges were made by several seeds the spread of the mean. */
export function resultsTable({ tasks, models }: Pick<DemoResults, "tasks" | "models">): { header: string[]; rows: string[][] } {
  const spreads = models.some(({ spread }) => spread !== undefined);
  const rows = models.map((model) => {
    const numbers = [...tasks.map((task) => model.exactMatch[task] ?? Number.NaN), model.mean, relativeToExperts(model, models)];
    return [model.name, model.kind, ...numbers.map(percent), ...(spreads ? [model.spread === undefined ? "" : percent(model.spread)] : [])];
  });
  return { header: ["model", "kind", ...tasks, "mean", "of experts", ...(spreads ? ["± seeds"] : [])], rows };
}
