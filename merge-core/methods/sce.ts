// SCE (Wan et al., FuseChat, 2024): select the elements on which models vary most, calculate each model's weight from
// the energy of its selected changes, erase what disagrees with the elected sign.
import type { TensorEngine } from "../compute/engine.ts";
import { add, compare, constant, div, type Expr, input, linear, mul, scale, select, sub } from "../compute/expr.ts";
import type { MergeMethod, MergeTask } from "./method.ts";
import { numberOf } from "./parameters.ts";
import { agreement } from "./task-vectors.ts";

/** Weights of surviving changes are taken to sum to at least this. */
const SMALLEST_SUM = 1e-6;

export const sce: MergeMethod = {
  id: "sce",
  title: "SCE",
  kind: "tensor",
  summary: "Selects the elements on which the models differ most, weights models by the energy of their changes there, and drops minority signs.",
  formula:
    "d_i = W_i - B where Var_i is among the select_topk largest, else 0;  g_i = mean(d_i^2), normalised\nm_i = [sign(d_i) = sign(sum_j d_j)];  R = B + sum_i g_i d_i m_i / max(sum_i g_i m_i, 1e-6)",
  paper: { title: "FuseChat: Knowledge Fusion of Chat Models", url: "https://arxiv.org/abs/2408.07990", year: 2024 },
  parameters: [
    { name: "select_topk", scope: "global", type: "number", default: 1, range: { min: 0, max: 1 }, doc: "Fraction of the varying elements that take part." },
    {
      name: "energy_floor",
      scope: "global",
      type: "number",
      default: 1e-6,
      range: { min: 0 },
      doc: "Models whose mean squared changes sum to less than this are weighted equally; 0 weights them by energy however small it is.",
    },
    { name: "int8_mask", scope: "global", type: "flag", default: 0, doc: "Accepted for compatibility; the result does not depend on it." },
  ],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 5,
  async merge(task, engine) {
    const { base, others } = task;
    if (base === undefined) throw new TypeError("sce needs a base");
    const origin = input(base.index);
    const deltas = await selectVarying(
      others.map(({ index }) => sub(input(index), origin)),
      numberOf(task, "select_topk"),
      engine,
    );
    const weights = await energyWeights(deltas, task, engine);
    const agreeing = agreement(deltas);
    const sum = linear(deltas.map((delta, i) => ({ weight: weights[i] ?? 0, x: select(agreeing[i] ?? delta, delta, constant(0)) })));
    const divisor: Expr = { op: "max", a: linear(agreeing.map((x, i) => ({ weight: weights[i] ?? 0, x }))), b: constant(SMALLEST_SUM) };
    return add(origin, div(sum, divisor));
  },
};

/** Zero where the variance over the models is not among the largest `share` of those that are not zero. */
async function selectVarying(deltas: readonly Expr[], share: number, engine: TensorEngine): Promise<Expr[]> {
  if (share >= 1) return [...deltas];
  const variance = varianceOf(deltas);
  const [varying = 0] = await engine.reduce([{ op: "countNonZero", x: variance }]);
  const [selection] = await engine.selectLargest([{ x: variance, keep: Math.floor(varying * share) }]);
  if (selection === undefined) throw new TypeError("no selection was made");
  const chosen = compare("gt", { op: "trim", a: variance, selection }, constant(0));
  return deltas.map((delta) => select(chosen, delta, constant(0)));
}

/** Population variance over the models, per element. Taken from the first model's value on, so that equal values have exactly none. */
function varianceOf(deltas: readonly Expr[]): Expr {
  const shifted = deltas.map((delta) => sub(delta, deltas[0] ?? delta));
  const mean = div(linear(shifted.map((x) => ({ weight: 1, x }))), constant(deltas.length));
  const squares = shifted.map((x) => {
    const off = sub(x, mean);
    return mul(off, off);
  });
  return scale(linear(squares.map((x) => ({ weight: 1, x }))), 1 / deltas.length);
}

async function energyWeights(deltas: readonly Expr[], task: MergeTask, engine: TensorEngine): Promise<number[]> {
  const sums = await engine.reduce(deltas.map((x) => ({ op: "sumSquares", x })));
  const energies = sums.map((sum) => sum / engine.size);
  const total = energies.reduce((sum, energy) => sum + energy, 0);
  const floor = numberOf(task, "energy_floor");
  return total === 0 || total < floor ? deltas.map(() => 1 / deltas.length) : energies.map((energy) => energy / total);
}
