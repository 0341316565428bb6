// The configuration of `weightsmith pareto`. Node only.

import { MOST_BAYESIAN_COEFFICIENTS } from "./bayesian-map.ts";
import {
  asObject,
  type ConfigPlace,
  type ConfigValues,
  choiceIn,
  configError,
  configPlace,
  countIn,
  numbersIn,
  parseConfigValues,
  readConfigText,
} from "./config-values.ts";
import { defaultSamples } from "./map-samples.ts";
import { type Objective, readObjectives } from "./objectives.ts";
import { readSearchRecipe, type SearchRecipe } from "./search-recipe.ts";

export const PARETO_METHODS = ["map", "bmap", "nested_map", "simplex"] as const;
export type ParetoMethod = (typeof PARETO_METHODS)[number];

export interface ParetoConfig {
  readonly place: ConfigPlace;
  readonly text: string;
  readonly recipe: SearchRecipe;
  readonly objectives: readonly Objective[];
  readonly method: ParetoMethod;
  readonly samples: number;
  /** Points of the predicted front that are measured. */
  readonly front: number;
  readonly seed: number;
  /** Measure the input models and their average too. */
  readonly baselines: boolean;
  /** Of the hypervolume, in the objectives' own units; default a little beyond the worst measured. */
  readonly reference: readonly number[] | undefined;
  /** Of nested MAP. */
  readonly preference: readonly number[] | undefined;
}

const KEYS = ["recipe", "base", "models", "range", "dtype", "objectives", "method", "samples", "front", "seed", "baselines", "reference", "preference"];
const DEFAULT_FRONT = 20;

/** @throws WeightsmithError `file-missing`, and as `parseParetoConfig` */
export async function readParetoConfig(file: string): Promise<ParetoConfig> {
  return parseParetoConfig(await readConfigText(file), file);
}

/** @throws WeightsmithError `yaml-syntax`, `config-*`, `search-*`, `metric-*` */
export function parseParetoConfig(text: string, file: string): ParetoConfig {
  const place = configPlace(file);
  const values = parseConfigValues(text, file, KEYS);
  const recipe = readSearchRecipe(recipeValue(values, place), file);
  if (recipe.dimensions.some(({ log }) => log))
    throw configError(place, "recipe", "log: true", "ranges without log: surrogates are quadratic in the value itself");
  const n = recipe.dimensions.length;
  const objectives = readObjectives(values.objectives, place);
  const method = choiceIn(values, place, "method", "map", PARETO_METHODS);
  if (method === "bmap" && (n < 2 || n > MOST_BAYESIAN_COEFFICIENTS))
    throw configError(place, "method", method, `2 to ${MOST_BAYESIAN_COEFFICIENTS} coefficients for bmap, where there are ${n}`);
  const preference = numbersIn(values, place, "preference", objectives.length);
  if (method === "nested_map" && preference === undefined) throw configError(place, "preference", undefined, "for nested_map, how much each objective counts");
  const { baselines = true } = values;
  if (typeof baselines !== "boolean") throw configError(place, "baselines", baselines, "true or false");
  return {
    place,
    text,
    recipe,
    objectives,
    method,
    samples: countIn(values, place, "samples", defaultSamples(n), n + 1),
    front: countIn(values, place, "front", DEFAULT_FRONT, 1),
    seed: countIn(values, place, "seed", 0, 0),
    baselines,
    reference: numbersIn(values, place, "reference", objectives.length),
    preference,
  };
}

/** The recipe as written, or task arithmetic with one coefficient for each model. */
function recipeValue(values: ConfigValues, place: ConfigPlace): unknown {
  const { recipe, base, models, range = [0, 1], dtype } = values;
  if (recipe !== undefined) {
    const other = ["base", "models", "range", "dtype"].find((key) => values[key] !== undefined);
    if (other !== undefined) throw configError(place, other, values[other], "recipe, or base and models, not both");
    if (asObject(recipe) === undefined) throw configError(place, "recipe", recipe, "a recipe as a mapping");
    return recipe;
  }
  if (typeof base !== "string") throw configError(place, "base", base, "the base model's path, or a recipe");
  if (!Array.isArray(models) || models.length === 0 || !models.every((model) => typeof model === "string"))
    throw configError(place, "models", models, "a list of models");
  const weighted = models.map((model: string) => ({ model, parameters: { weight: { search: range } } }));
  return { merge_method: "task_arithmetic", base_model: base, models: weighted, ...(dtype === undefined ? {} : { dtype }) };
}
