// Weighted average of whole models (model soups).
import { input, linear as weightedSum } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";
import { divideBy, flagOf, floatSum, normalizeFlag, WEIGHT, weightOf, zeroWeightSum } from "./parameters.ts";

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
  average: true,
  check: (task) => (flagOf(task, "normalize") ? zeroWeightSum(task.inputs) : undefined),
  merge(task) {
    const sum = weightedSum(task.inputs.map((model) => ({ weight: weightOf(model), x: input(model.index) })));
    return flagOf(task, "normalize") ? divideBy(sum, floatSum(task.inputs.map(weightOf))) : sum;
  },
};
