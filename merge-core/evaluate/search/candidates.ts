// Recipes that differ in some parameters: every combination of listed values, and weights of the models from a grid or a simplex.
import { isMap, isSeq, parseDocument } from "yaml";
import { inputError } from "../../diagnostics.ts";
import { findMethod } from "../../methods/registry.ts";
import { uniforms } from "../../nn/random.ts";

/** Values to try for one parameter: of every model that is not the base, or of the recipe, as the method has it. */
export interface ParameterChoices {
  readonly name: string;
  readonly values: readonly number[];
}

/** Weights of the models to try: two models' at even steps from (1, 0) to (0, 1), or points of the simplex drawn evenly (Dirichlet(1, ..., 1)). */
export type WeightChoices = { readonly kind: "grid"; readonly points: number } | { readonly kind: "dirichlet"; readonly points: number; readonly seed: number };

export interface Candidate {
  /** Such as `weight 0.2 0.8, density 0.5`. */
  readonly label: string;
  readonly text: string;
}

/** Points on a line between two models in the released code of Fisher merging, both ends included. */
export const GRID_POINTS = 51;

/** All recipes, in a fixed order. @throws WeightsmithError `search-*` when the recipe has no place for what is to be tried */
export function candidateRecipes(text: string, file: string, weights: WeightChoices | undefined, choices: readonly ParameterChoices[]): Candidate[] {
  const { models, method } = readShape(text, file);
  const known = findMethod(method)?.parameters ?? [];
  const scopes = choices.map(({ name }) => {
    const spec = known.find((parameter) => parameter.name === name);
    if (spec !== undefined) return spec.scope;
    throw inputError("search-parameter", `${method} has no parameter ${name}`, { file, expected: known.map((parameter) => parameter.name).join(", ") });
  });
  const vectors = weights === undefined ? [undefined] : weightVectors(weights, models.length, file);
  return vectors.flatMap((vector) =>
    combinations(choices).map((values) => {
      const document = parseDocument(text);
      for (const [i, model] of models.entries()) {
        if (vector !== undefined) document.setIn(["models", model, "parameters", "weight"], vector[i]);
        for (const [k, { name }] of choices.entries()) if (scopes[k] === "model") document.setIn(["models", model, "parameters", name], values[k]);
      }
      for (const [k, { name }] of choices.entries()) if (scopes[k] === "global") document.setIn(["parameters", name], values[k]);
      const parts = [...(vector === undefined ? [] : [`weight ${vector.map(short).join(" ")}`]), ...choices.map(({ name }, k) => `${name} ${values[k]}`)];
      return { label: parts.join(", ") || "as written", text: String(document) };
    }),
  );
}

const short = (value: number): string => `${Number(value.toFixed(4))}`;

/** Positions of the models that are not the base, and the method's id. */
function readShape(text: string, file: string): { models: number[]; method: string } {
  const document = parseDocument(text);
  const list = document.get("models");
  if (!isSeq(list)) throw inputError("search-recipe", "only a recipe with a list of models can be searched", { file, expected: "models:" });
  const base = document.get("base_model");
  const models = [...list.items.keys()].filter((i) => {
    const item = list.items[i];
    return !(isMap(item) && base !== undefined && item.get("model") === base);
  });
  return { models, method: String(document.get("merge_method")) };
}

function weightVectors(weights: WeightChoices, models: number, file: string): number[][] {
  const { points } = weights;
  if (weights.kind === "grid") {
    if (models !== 2 || points < 2)
      throw inputError("search-grid", "a grid of weights is for two models", { file, found: `${models} models`, remedy: "use dirichlet" });
    return Array.from({ length: points }, (_, i) => [1 - i / (points - 1), i / (points - 1)]);
  }
  return Array.from({ length: points }, (_, i) => simplexPoint(weights.seed, i, models));
}

/** Standard exponential draws divided by their sum. */
function simplexPoint(seed: number, index: number, size: number): number[] {
  const draws = Array.from(uniforms(seed, `dirichlet/${index}`, size), (u) => -Math.log(1 - u));
  const sum = draws.reduce((total, x) => total + x, 0);
  return draws.map((x) => x / sum);
}

function combinations(choices: readonly ParameterChoices[]): number[][] {
  return choices.reduce<number[][]>((all, { values }) => all.flatMap((prefix) => values.map((value) => [...prefix, value])), [[]]);
}
