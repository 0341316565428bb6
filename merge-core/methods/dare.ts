// DARE (Yu et al., 2023): drop random elements of each difference and make up for them by scale. The paper divides by
// the keep probability; recipes of the field restore the L1 norm of the difference instead, which is the default here.
import { bernoulli, constant, scale, select } from "../compute/expr.ts";
import type { MergeMethod, ParameterSpec } from "./method.ts";
import { flagOf } from "./parameters.ts";
import { densityOf, mergeTaskVectors, restoreNorms, type Sparsify, taskVectorParameters } from "./task-vectors.ts";

const RESCALE_BY_DENSITY: ParameterSpec = {
  name: "rescale_by_density",
  scope: "global",
  type: "flag",
  default: 0,
  doc: "With rescale, divide what is kept by the density, as the paper does, instead of restoring the L1 norm.",
};

/** Keeps each element with probability `density`. */
export const keepAtRandom: Sparsify = (vectors, task, engine) => {
  const sparse = vectors.map(({ model, delta }) => {
    const density = densityOf(model);
    if (density >= 1) return { model, delta };
    const kept = bernoulli(constant(density), { model: model.modelIndex, purpose: 0 });
    return { model, delta: select(kept, delta, constant(0)) };
  });
  if (!flagOf(task, "rescale")) return sparse;
  if (!flagOf(task, "rescale_by_density")) return restoreNorms(vectors, sparse, engine);
  return sparse.map(({ model, delta }) => ({ model, delta: densityOf(model) >= 1 ? delta : scale(delta, 1 / densityOf(model)) }));
};

const shared = {
  kind: "tensor",
  paper: {
    title: "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
    url: "https://arxiv.org/abs/2311.03099",
    year: 2023,
  },
  parameters: taskVectorParameters({ normalize: 0, rescale: 1 }, RESCALE_BY_DENSITY),
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  sides: (others: number) => others,
} as const satisfies Partial<MergeMethod>;

export const dareLinear: MergeMethod = {
  ...shared,
  id: "dare_linear",
  title: "DARE, added up",
  summary: "Drops random elements of each difference, rescales the rest and adds the differences to the base.",
  formula: "d_i = rescale(bernoulli(density) (W_i - B))\nR = B + lambda sum_i w_i d_i, the sum divided by sum_i w_i if normalize",
  merge: mergeTaskVectors(keepAtRandom, "sum"),
};

export const dareTies: MergeMethod = {
  ...shared,
  id: "dare_ties",
  title: "DARE with sign election",
  summary: "Drops random elements of each difference, rescales the rest, elects a sign per element and adds what agrees.",
  formula:
    "d_i = rescale(bernoulli(density) (W_i - B));  s = sign(sum_i w_i d_i);  m_i = [sign(w_i d_i) = s]\nR = B + lambda sum_i w_i d_i m_i, the sum divided by sum_i w_i m_i if normalize",
  merge: mergeTaskVectors(keepAtRandom, "elect"),
};
