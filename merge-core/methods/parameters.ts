// Reading resolved parameters, and the parameter descriptions that several methods share.
import { constant, div, type Expr } from "../compute/expr.ts";
import type { MergeInput, MergeTask, ParameterSpec } from "./method.ts";

/** The value of a parameter that the method's table declares with a default or as required. */
export function numberOf(owner: Pick<MergeTask, "parameters"> | Pick<MergeInput, "parameters">, name: string): number {
  const value = owner.parameters[name];
  if (typeof value !== "number") throw new TypeError(`parameter ${name} was not resolved`);
  return value;
}

export function flagOf(owner: Pick<MergeTask, "parameters">, name: string): boolean {
  return numberOf(owner, name) !== 0;
}

export const weightOf = (input: MergeInput): number => numberOf(input, "weight");

export const WEIGHT: ParameterSpec = {
  name: "weight",
  scope: "model",
  type: "number",
  doc: "How much of this model goes into the result.",
};

export const DENSITY: ParameterSpec = {
  name: "density",
  scope: "model",
  type: "number",
  default: 1,
  range: { min: 0, max: 1, minOpen: true },
  doc: "Fraction of the elements of this model's difference from the base that is kept.",
};

export function normalizeFlag(value: 0 | 1, doc = "Divide the weighted sum by the sum of the weights that took part."): ParameterSpec {
  return { name: "normalize", scope: "global", type: "flag", default: value, doc };
}

/** The sum of numbers as float32 arithmetic has it, term by term. */
export const floatSum = (values: readonly number[]): number => values.reduce((sum, value) => Math.fround(sum + Math.fround(value)), 0);

/** x / divisor; dividing by one is exact, so it is left out. */
export const divideBy = (x: Expr, divisor: number): Expr => (divisor === 1 ? x : div(x, constant(divisor)));

/** For methods that need weights summing to 1: the sum, and the complaint about one that cannot be divided by. */
export function zeroWeightSum(inputs: readonly MergeInput[]) {
  const sum = inputs.reduce((total, input) => total + weightOf(input), 0);
  if (Math.abs(sum) >= 1e-8) return undefined;
  return {
    code: "weights-sum-to-zero",
    message: "the weights of the models cannot be normalised",
    found: `weights ${inputs.map(weightOf).join(", ")}, which sum to ${sum}`,
    expected: "weights whose sum is not 0",
    remedy: "change a weight, or set normalize: false",
  };
}
