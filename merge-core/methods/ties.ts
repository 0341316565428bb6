// TIES (Yadav et al., 2023): trim each difference to its largest elements, elect a sign per element, average what agrees.
// As in recipes of the field: trimmed per tensor, exactly floor(density N) elements kept, signs elected on weighted values; on request
// trimmed over all tensors together as in the paper, or signs elected by count.
import type { MergeMethod } from "./method.ts";
import { COUNT_ELECTION, keepLargest, largestOfAll, mergeTaskVectors, taskVectorParameters } from "./task-vectors.ts";
import { WHOLE_VECTOR } from "./whole-vector.ts";

export const ties: MergeMethod = {
  id: "ties",
  title: "TIES",
  kind: "tensor",
  summary: "Trims each difference to its largest elements, elects a sign per element and averages the values that agree.",
  formula:
    "d_i = top_density(W_i - B);  s = sign(sum_i w_i d_i);  m_i = [sign(w_i d_i) = s]\nR = B + lambda sum_i w_i d_i m_i, the sum divided by sum_i w_i m_i if normalize",
  paper: { title: "TIES-Merging: Resolving Interference When Merging Models", url: "https://arxiv.org/abs/2306.01708", year: 2023 },
  parameters: taskVectorParameters({ normalize: 1, rescale: 0 }, WHOLE_VECTOR, COUNT_ELECTION),
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 3,
  statistic: largestOfAll,
  merge: mergeTaskVectors(keepLargest, "elect"),
};
