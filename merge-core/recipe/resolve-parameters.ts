// Which level of the recipe a parameter's value comes from: source, slice, module, recipe, then the method's default.
import type { ParameterSpec } from "../methods/method.ts";
import { evaluateParameter } from "./evaluate-parameter.ts";
import type { ParameterSettings } from "./recipe.ts";

/** A parameter that cannot be used: not given, or with a value out of its range. */
export interface ParameterProblem {
  readonly spec: ParameterSpec;
  /** Undefined: the parameter is missing. */
  readonly value: number | undefined;
}

export interface ResolvedParameters {
  readonly values: Readonly<Record<string, number | null>>;
  readonly problems: readonly ParameterProblem[];
}

/**
 * Values of all `specs` for one tensor.
 * @param levels settings by falling precedence; a level without a value for this tensor is passed over
 * @param optional a missing required parameter is left out instead of being a problem (the base needs no weight)
 */
export function resolveParameters(
  specs: readonly ParameterSpec[],
  levels: readonly ParameterSettings[],
  tensorName: string,
  position: number,
  optional = false,
): ResolvedParameters {
  const values: Record<string, number | null> = {};
  const problems: ParameterProblem[] = [];
  for (const spec of specs) {
    const value = firstValue(spec, levels, tensorName, position) ?? spec.default;
    if (value !== undefined && value !== null && !isLegal(spec, value)) problems.push({ spec, value });
    else if (value !== undefined) values[spec.name] = value;
    else if (!optional) problems.push({ spec, value: undefined });
  }
  return { values, problems };
}

function firstValue({ name, type }: ParameterSpec, levels: readonly ParameterSettings[], tensorName: string, position: number): number | undefined {
  for (const level of levels) {
    const setting = level.get(name);
    const value = setting === undefined ? undefined : evaluateParameter(setting, tensorName, position, type === "flag");
    if (value !== undefined) return value;
  }
  return undefined;
}

/** Whether a value has the parameter's type and lies in its range. */
export function isLegal(spec: ParameterSpec, value: number): boolean {
  if (!Number.isFinite(value)) return false;
  if (spec.type === "flag") return value === 0 || value === 1;
  if (spec.type === "integer" && !Number.isInteger(value)) return false;
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, minOpen = false, maxOpen = false } = spec.range ?? {};
  return (minOpen ? value > min : value >= min) && (maxOpen ? value < max : value <= max);
}

/** What `isLegal` accepts, in words: `a number in (0, 1]`. */
export function legalValues(spec: ParameterSpec): string {
  if (spec.type === "flag") return "true or false";
  const kind = spec.type === "integer" ? "a whole number" : "a number";
  const { min, max, minOpen, maxOpen } = spec.range ?? {};
  if (min === undefined && max === undefined) return kind;
  if (max === undefined) return `${kind} ${minOpen ? "above" : "of at least"} ${min}`;
  if (min === undefined) return `${kind} ${maxOpen ? "below" : "of at most"} ${max}`;
  return `${kind} in ${minOpen ? "(" : "["}${min}, ${max}${maxOpen ? ")" : "]"}`;
}
