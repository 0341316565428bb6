// Weighted average of whole models (model soups). The weights are normalised in float64 before they meet the data.
import { input, linear as weightedSum } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";
import { flagOf, normalizeFlag, WEIGHT, weightOf, zeroWeightSum } from "./parameters.ts";

export const linear: MergeMethod = {
  id: "linear",
  title: "Weighted average",
  kind: "element",
  summary: "Averages models of one architecture, each with its own weight.",
  formula: "R = sum_i w_i W_i, divided by sum_i w_i if normalize",
  paper: {
    title: "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time",
    url: "https://arxiv.org/abs/2203.05482",
    year: 2022,
  },
  parameters: [WEIGHT, normalizeFlag(1, "Divide by the sum of the weights.")],
  base: "none",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 1,
  check: (task) => (flagOf(task, "normalize") ? zeroWeightSum(task.inputs) : undefined),
  merge(task) {
    const divisor = flagOf(task, "normalize") ? task.inputs.reduce((sum, model) => sum + weightOf(model), 0) : 1;
    return weightedSum(task.inputs.map((model) => ({ weight: weightOf(model) / divisor, x: input(model.index) })));
  },
};
