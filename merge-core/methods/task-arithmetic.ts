// Task arithmetic (Ilharco et al., 2022): add weighted differences from the base to the base.
import type { MergeMethod } from "./method.ts";
import { keepAll, mergeTaskVectors, taskVectorParameters } from "./task-vectors.ts";

export const taskArithmetic: MergeMethod = {
  id: "task_arithmetic",
  title: "Task arithmetic",
  kind: "element",
  summary: "Adds the weighted differences of fine-tuned models from their base to the base.",
  formula: "R = B + lambda sum_i w_i (W_i - B), the sum divided by sum_i w_i if normalize",
  paper: { title: "Editing Models with Task Arithmetic", url: "https://arxiv.org/abs/2212.04089", year: 2022 },
  parameters: taskVectorParameters({ normalize: 0, rescale: 0 }),
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 1,
  merge: mergeTaskVectors(keepAll, "sum"),
};
