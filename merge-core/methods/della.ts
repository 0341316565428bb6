// DELLA (Deep et al., 2024): drop elements at random, the smaller of a row more often than the larger, and make up for it by
// scale. As in recipes of the field the L1 norm of the difference is restored, and a row is one line of the last dimension.
import { bernoulli, constant, type Expr, linear, rowRank, select } from "../compute/expr.ts";
import type { MergeMethod, ParameterSpec } from "./method.ts";
import { flagOf, numberOf } from "./parameters.ts";
import { densityOf, mergeTaskVectors, restoreNorms, type Sparsify, taskVectorParameters } from "./task-vectors.ts";

const EPSILON: ParameterSpec = {
  name: "epsilon",
  scope: "model",
  type: "number",
  default: 0.15,
  range: { min: 0 },
  doc: "Keep probabilities run from density - epsilon for the smallest element of a row to density + epsilon for the largest.",
};

/** Probability of keeping each element of `x`, by its rank in its row. */
export function keepProbability(x: Expr, density: number, epsilon: number): Expr {
  return linear([
    { weight: 1, x: constant(density - epsilon) },
    { weight: 2 * epsilon, x: rowRank(x) },
  ]);
}

const keepByRank: Sparsify = (vectors, task, engine) => {
  const sparse = vectors.map(({ model, delta }) => {
    if (densityOf(model) >= 1) return { model, delta };
    const kept = bernoulli(keepProbability(delta, densityOf(model), numberOf(model, "epsilon")), { model: model.modelIndex, purpose: 0 });
    return { model, delta: select(kept, delta, constant(0)) };
  });
  return flagOf(task, "rescale") ? restoreNorms(vectors, sparse, engine) : sparse;
};

const shared = {
  kind: "tensor",
  paper: {
    title: "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
    url: "https://arxiv.org/abs/2406.11617",
    year: 2024,
  },
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  sides: (others: number) => others,
  check({ others }) {
    const wrong = others.find((model) => {
      const [density, epsilon] = [densityOf(model), numberOf(model, "epsilon")];
      return density > 0 && density < 1 && (density - epsilon <= 0 || density + epsilon >= 1);
    });
    if (wrong === undefined) return undefined;
    return {
      code: "probability-range",
      message: `density and epsilon of ${wrong.model} give keep probabilities outside of (0, 1)`,
      found: `density ${densityOf(wrong)}, epsilon ${numberOf(wrong, "epsilon")}`,
      expected: "epsilon < density and epsilon < 1 - density",
      remedy: "choose a smaller epsilon",
    };
  },
} as const satisfies Partial<MergeMethod>;

export const della: MergeMethod = {
  ...shared,
  id: "della",
  title: "DELLA",
  summary: "Drops elements of each difference at random, small ones more often, elects a sign per element and averages what agrees.",
  formula:
    "p = density - epsilon + 2 epsilon rank of |W_i - B| in its row (0 to 1);  d_i = rescale(bernoulli(p) (W_i - B))\ns = sign(sum_i w_i d_i);  m_i = [sign(w_i d_i) = s]\nR = B + lambda sum_i w_i d_i m_i, the sum divided by sum_i w_i m_i if normalize",
  parameters: taskVectorParameters({ normalize: 1, rescale: 1 }, EPSILON),
  merge: mergeTaskVectors(keepByRank, "elect"),
};

export const dellaLinear: MergeMethod = {
  ...shared,
  id: "della_linear",
  title: "DELLA, added up",
  summary: "Drops elements of each difference at random, small ones more often, and adds the differences to the base.",
  formula: "d_i as della\nR = B + lambda sum_i w_i d_i, the sum divided by sum_i w_i if normalize",
  parameters: taskVectorParameters({ normalize: 0, rescale: 1 }, EPSILON),
  merge: mergeTaskVectors(keepByRank, "sum"),
};
