// Selective synaptic dampening (Foster et al. 2024, 2308.07707): weights that matter much more to what is to be forgotten than to the rest are made
// smaller. The first model's Fisher information is of the data to forget, the second's of the data to keep (the authors: of all training data, that
// to forget included); both are the same model. The authors square gradients of batches, so that their numbers hang on the batch size;
// Fisher information is of single examples, the same as batches of one.
import { compare, constant, div, type Expr, input, mul, scale, select } from "../compute/expr.ts";
import type { MergeMethod, MergeTask } from "./method.ts";
import { numberOf } from "./parameters.ts";

export const ssd: MergeMethod = {
  id: "ssd",
  title: "Selective synaptic dampening",
  kind: "element",
  summary: "Unlearns: makes weights smaller that matter more to the first Fisher information (to forget) than to the second (to keep).",
  formula: "R = W_1 min(lambda F_2 / F_1, 1) where F_1 > alpha F_2, else W_1;  both models are the same, F_1 on data to forget, F_2 on data to keep",
  paper: { title: "Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening", url: "https://arxiv.org/abs/2308.07707", year: 2024 },
  data: "fisher",
  parameters: [
    { name: "alpha", scope: "global", type: "number", default: 10, range: { min: 0 }, doc: "How many times more a weight must matter to what is forgotten." },
    { name: "lambda", scope: "global", type: "number", default: 1, range: { min: 0 }, doc: "Strength of the dampening; smaller dampens more." },
  ],
  base: "none",
  models: { min: 2, max: 2 },
  passes: 1,
  merge(task) {
    const [forget, keep] = task.inputs;
    if (forget === undefined || keep === undefined) throw new TypeError("ssd needs two models");
    const weight = input(forget.index);
    if (forget.fisher === undefined || keep.fisher === undefined) return weight;
    return dampened(task, weight, input(forget.fisher), input(keep.fisher));
  },
};

function dampened(task: MergeTask, weight: Expr, forget: Expr, keep: Expr): Expr {
  const limit = scale(keep, numberOf(task, "alpha"));
  const factor: Expr = { op: "min", a: div(scale(keep, numberOf(task, "lambda")), forget), b: constant(1) };
  return select(compare("gt", forget, limit), mul(weight, factor), weight);
}
