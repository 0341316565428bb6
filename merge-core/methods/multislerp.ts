// Spherical mean of any number of models: the direction of the weighted mean of directions, at the weighted mean length.
// One step on the sphere's tangent plane at that very direction moves nowhere, so none is taken.
import { add, type Expr, input, linear, sub } from "../compute/expr.ts";
import { gramMatrix, lengthOf, normsOf } from "./gram.ts";
import type { MergeMethod, MergeTask } from "./method.ts";
import { flagOf, numberOf, WEIGHT, weightOf, zeroWeightSum } from "./parameters.ts";

export const multislerp: MergeMethod = {
  id: "multislerp",
  title: "Spherical mean",
  kind: "tensor",
  summary: "Gives models the weighted mean of their directions and of their lengths, as slerp does for two; optionally of differences from a base.",
  formula: "x_i = W_i, or W_i - B with a base;  M = sum_i w_i x_i / |x_i|\nR = M / |M| sum_i w_i |x_i|, plus B with a base",
  paper: undefined,
  parameters: [
    WEIGHT,
    { name: "normalize_weights", scope: "global", type: "flag", default: 1, doc: "Divide the weights by their sum first." },
    {
      name: "eps",
      scope: "global",
      type: "number",
      default: 1e-8,
      range: { min: 0 },
      doc: "Added to lengths before they are divided by; a mean direction shorter than this is none.",
    },
  ],
  base: "optional",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  check: (task) => (flagOf(task, "normalize_weights") && task.others.length > 1 ? zeroWeightSum(task.others) : undefined),
  async merge(task, engine) {
    const { base, others } = task;
    const [only] = others;
    if (only !== undefined && others.length === 1) return input(only.index);
    const vectors = others.map(({ index }): Expr => (base === undefined ? input(index) : sub(input(index), input(base.index))));
    const gram = await gramMatrix(engine, vectors);
    const factors = meanFactors(task, normsOf(gram), (coefficients) => lengthOf(gram, coefficients));
    const mean = linear(vectors.map((x, i) => ({ weight: factors[i] ?? 0, x })));
    return base === undefined ? mean : add(input(base.index), mean);
  },
};

/** Coefficients of the vectors in their spherical mean. Without a mean direction it is the weighted sum, and `warn` says so. */
function meanFactors(task: MergeTask, norms: readonly number[], length: (coefficients: readonly number[]) => number): number[] {
  const sum = flagOf(task, "normalize_weights") ? task.others.reduce((total, model) => total + weightOf(model), 0) : 1;
  const weights = task.others.map((model) => weightOf(model) / sum);
  const eps = numberOf(task, "eps");
  const direction = weights.map((weight, i) => (norms[i] === 0 ? 0 : weight / ((norms[i] ?? 0) + eps)));
  const size = length(direction);
  if (size >= eps && size > 0) {
    const meanNorm = weights.reduce((total, weight, i) => total + weight * (norms[i] ?? 0), 0);
    return direction.map((coefficient) => (coefficient / size) * meanNorm);
  }
  if (norms.some((norm) => norm > 0))
    task.warn({ code: "no-mean-direction", message: `the models' directions cancel in ${task.name}; it is their weighted sum instead` });
  return weights;
}
