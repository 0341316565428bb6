// Moves towards the other model where the two already agree, and stays with the base where they differ.
import { abs, add, constant, div, type Expr, input, mul, sub } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";
import { numberOf } from "./parameters.ts";

/** Differences are taken for at least this, so that nothing is divided by zero. */
const SMALLEST = 1e-6;

export const nearswap: MergeMethod = {
  id: "nearswap",
  title: "Near swap",
  kind: "element",
  summary: "Takes the other model's values where they are within t of the base's, and less of them the further they are.",
  formula: "k = min(1, t / max(|B - W|, 1e-6))\nR = k W + (1 - k) B",
  paper: undefined,
  parameters: [{ name: "t", scope: "global", type: "number", range: { min: 0 }, doc: "Distance up to which the other model's values are taken whole." }],
  base: "required",
  models: { min: 1, max: 1 },
  passes: 1,
  merge({ base, others: [other], parameters }) {
    if (base === undefined || other === undefined) throw new TypeError("nearswap needs a base and one other model");
    const [a, b] = [input(base.index), input(other.index)];
    const distance: Expr = { op: "max", a: abs(sub(a, b)), b: constant(SMALLEST) };
    const share: Expr = { op: "min", a: div(constant(numberOf({ parameters }, "t")), distance), b: constant(1) };
    return add(mul(share, b), mul(sub(constant(1), share), a));
  },
};
