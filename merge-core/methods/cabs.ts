// CABS (Yang et al., 2025): in every block of m elements each difference keeps its n largest, in the order of the models, the later
// ones only of what the earlier ones left; the weights are then added without rescaling. As the released code has it for two
// models of density up to a half. Above that disjoint masks cannot exist: the code's own dense branch keeps a fixed half of the overlap,
// which gives the wanted density for n/m = 3/4 only; here a later model takes all that is free and its largest of the rest, so
// that each keeps exactly n of m. A last block shorter than m keeps its share, rounded up, where the code drops or refuses it.
import { add, constant, type Expr, input, linear, select, sub } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";
import { numberOf, WEIGHT, weightOf } from "./parameters.ts";

export const cabs: MergeMethod = {
  id: "cabs",
  title: "CABS",
  kind: "tensor",
  summary: "Keeps n of every m elements of each difference, models in order and each of what the earlier ones left, and adds them up.",
  formula: "d_i = w_i (W_i - B);  per block of m: M_i = the n largest |W_i - B| outside M_1 ... M_(i-1)\nR = B + lambda sum_i d_i M_i",
  paper: { title: "CABS: Conflict-Aware and Balanced Sparsification for Enhancing Model Merging", url: "https://arxiv.org/abs/2503.01874", year: 2025 },
  parameters: [
    { ...WEIGHT, default: 1 },
    { name: "n", scope: "global", type: "integer", default: 64, range: { min: 1 }, doc: "Elements that each model keeps of a block." },
    { name: "m", scope: "global", type: "integer", default: 256, range: { min: 1, max: 65536 }, doc: "Elements of a block, in storage order." },
    { name: "lambda", scope: "global", type: "number", default: 1, doc: "Factor for the merged difference before it is added to the base." },
  ],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 1,
  sides: (others) => others,
  check({ parameters }) {
    const [n, m] = [numberOf({ parameters }, "n"), numberOf({ parameters }, "m")];
    return n <= m
      ? undefined
      : { code: "parameter-range", message: "cabs cannot keep more elements than a block has", found: `n ${n} of m ${m}`, expected: "n at most m" };
  },
  merge(task) {
    const { base, others } = task;
    if (base === undefined) throw new TypeError("cabs needs a base");
    const origin = input(base.index);
    const vectors = others.map(({ index }) => sub(input(index), origin));
    const turn = { block: numberOf(task, "m"), count: numberOf(task, "n") };
    const kept = vectors.map((x, at): Expr => select({ op: "turns", vectors, at, ...turn }, x, constant(0)));
    const lambda = numberOf(task, "lambda");
    return add(origin, linear(kept.map((x, i) => ({ weight: lambda * weightOf(others[i] as (typeof others)[number]), x }))));
  },
};
