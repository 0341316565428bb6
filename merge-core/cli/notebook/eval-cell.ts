// The cell `yaml eval`: metrics of one model or several, on one file or several.
import { basename } from "node:path";
import { stringify } from "yaml";
import { inputError } from "../../diagnostics.ts";
import { BUILTIN_METRICS, type BuiltinSpec, builtinMetric } from "../../evaluate/metric-spec.ts";
import type { EvalOutput } from "../../notebook/cell-output.ts";
import { asObject, configError, configPlace, countIn, parseConfigValues } from "../../pareto/config-values.ts";

const KEYS = ["model", "models", "recipe", "data", "metrics", "limit", "seed"];
const DEFAULT_METRICS = ["exact_match", "loss"];
/** Metrics that run from 0 to 1. */
const SHARES: readonly string[] = ["exact_match", "multiple_choice", "multiple_choice_norm"];

export interface EvalRequest {
  readonly metrics: readonly BuiltinSpec[];
  readonly subjects: readonly ({ readonly name: string } & ({ readonly model: string } | { readonly recipe: string }))[];
  readonly seed: number;
}

/** @param file diagnostics call it, and paths are relative to it @throws WeightsmithError `config-*`, `metric-*`, `yaml-syntax` */
export function readEvalCell(text: string, file: string): EvalRequest {
  const place = configPlace(file);
  const values = parseConfigValues(text, file, KEYS);
  const texts = (key: string, found: unknown): string[] => {
    const list = typeof found === "string" ? [found] : found;
    if (!Array.isArray(list) || list.length === 0 || !list.every((item): item is string => typeof item === "string"))
      throw configError(place, key, found, "text, or a list of it");
    return list;
  };
  const { model, models, recipe, metrics = DEFAULT_METRICS } = values;
  if ([model, models, recipe].filter((given) => given !== undefined).length !== 1)
    throw inputError("config-invalid-value", "an eval cell measures one of model, models and recipe", { file });
  if (recipe !== undefined && asObject(recipe) === undefined) throw configError(place, "recipe", recipe, "a recipe as a mapping");
  const subjects =
    recipe === undefined
      ? texts("models", models ?? model).map((path) => ({ name: path, model: place.resolve(path) }))
      : [{ name: "recipe", recipe: stringify(recipe) }];
  const data = texts("data", values.data);
  const limit = values.limit === undefined ? {} : { limit: countIn(values, place, "limit", undefined, 1) };
  const specs = texts("metrics", metrics).flatMap((metric) =>
    data.map((path) => builtinMetric(metric, [place.resolve(path)], { name: data.length === 1 ? metric : `${metric} ${dataName(path)}`, ...limit })),
  );
  return { metrics: specs, subjects, seed: countIn(values, place, "seed", 0, 0) };
}

const dataName = (path: string): string => basename(path).replace(/\.jsonl$/, "");

export function evalOutput(request: EvalRequest, scores: readonly Readonly<Record<string, number>>[]): EvalOutput {
  const metrics = request.metrics.map(({ name, metric }) => ({ name, direction: BUILTIN_METRICS[metric], share: SHARES.includes(metric) }));
  const models = request.subjects.map(({ name }, i) => ({ name, values: metrics.map((metric) => scores[i]?.[metric.name] ?? Number.NaN) }));
  return { kind: "eval", metrics, models };
}
