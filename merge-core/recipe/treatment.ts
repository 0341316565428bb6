// How one tensor is merged: by the recipe's method, or as the first override that fits its name says.
import type { SourceRange } from "../diagnostics.ts";
import type { MergeMethod } from "../methods/method.ts";
import type { MethodOverride, ParameterSettings, Recipe, RecipeSource } from "./recipe.ts";
import { fits } from "./tensor-pattern.ts";

export interface Treatment {
  readonly method: MergeMethod;
  readonly methodRange: SourceRange;
  /** Go before all others. */
  readonly parameters: ParameterSettings | undefined;
  readonly override: MethodOverride | undefined;
}

export function treatmentOf(recipe: Pick<Recipe, "method" | "methodRange" | "overrides">, tensorName: string): Treatment {
  return treatmentBy(
    recipe,
    recipe.overrides.find((override) => fits(override, tensorName)),
  );
}

/** The treatment that an override, or without one the recipe itself, asks for. */
export function treatmentBy({ method, methodRange }: Pick<Recipe, "method" | "methodRange">, override: MethodOverride | undefined): Treatment {
  return override === undefined
    ? { method, methodRange, parameters: undefined, override }
    : { method: override.method, methodRange: override.methodRange, parameters: override.parameters, override };
}

/** Whether a source of a slice takes part: it is named, or the base that the method needs. */
export function takesPart({ method, override }: Treatment, source: RecipeSource): boolean {
  if (override?.models !== undefined && !(source.isBase && method.base !== "none")) return override.models.some(({ text }) => text === source.model.text);
  return source.implied !== true || method.base !== "none";
}
