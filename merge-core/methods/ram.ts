// RAM and RAM+ (reinforced agent merging): keep what one model alone has changed whole, average what several have changed.
// RAM+ also makes unique changes larger in models that share much of what they changed.
import type { TensorEngine } from "../compute/engine.ts";
import { abs, add, compare, constant, div, type Expr, input, linear, mul, scale, select, sub } from "../compute/expr.ts";
import type { MergeMethod, MergeTask, Paper, ParameterSpec } from "./method.ts";
import { numberOf } from "./parameters.ts";

const EPSILON: ParameterSpec = {
  name: "epsilon",
  scope: "global",
  type: "number",
  default: 1e-5,
  range: { min: 0 },
  doc: "Elements that differ from the base by no more than this count as unchanged.",
};

const PAPER: Paper = { title: "Behavior Knowledge Merge in Reinforced Agentic Models", url: "https://arxiv.org/abs/2601.13572", year: 2026 };
const shared = { paper: PAPER, base: "required", models: { min: 1, max: Number.POSITIVE_INFINITY } } as const;

export const ram: MergeMethod = {
  ...shared,
  id: "ram",
  title: "RAM",
  kind: "element",
  summary: "Adds changes that one model alone has made whole, and averages those that several have made.",
  formula: "z_i = W_i - B where |W_i - B| > epsilon, else 0;  c = number of z_i that are not 0\nR = B + sum_i z_i / max(c, 1)",
  parameters: [EPSILON],
  passes: 1,
  merge(task) {
    const { origin, changes, count } = changesOf(task);
    return add(origin, div(sumOf(changes), { op: "max", a: count, b: constant(1) }));
  },
};

export const ramplusTl: MergeMethod = {
  ...shared,
  id: "ramplus_tl",
  title: "RAM+ (tensor level)",
  kind: "tensor",
  summary: "As RAM, with the changes that one model alone has made enlarged by how much else it shares with others.",
  formula: "as ram, with unique z_i times 1 + r clamp(shared_i / max(unique_i, epsilon), 0, alpha), both counted over the tensor",
  parameters: [
    { name: "r", scope: "global", type: "number", default: 0.1, doc: "Strength of the enlargement." },
    { name: "alpha", scope: "global", type: "number", default: 0.2, range: { min: 0 }, doc: "Largest ratio of shared to unique changes that counts." },
    EPSILON,
  ],
  passes: 2,
  async merge(task, engine) {
    const { origin, changes, count } = changesOf(task);
    const factors = await enlargements(task, engine, changes, count);
    const unique = compare("eq", count, constant(1));
    const enlarged = sumOf(changes.map((change, i) => scale(change, factors[i] ?? 1)));
    return add(origin, select(unique, enlarged, div(sumOf(changes), { op: "max", a: count, b: constant(1) })));
  },
};

/** Changes from the base above epsilon, and how many models have one at each element. */
function changesOf(task: MergeTask): { origin: Expr; changes: Expr[]; count: Expr } {
  if (task.base === undefined) throw new TypeError("ram needs a base");
  const origin = input(task.base.index);
  const epsilon = constant(numberOf(task, "epsilon"));
  const deltas = task.others.map(({ index }) => sub(input(index), origin));
  const active = deltas.map((delta) => compare("gt", abs(delta), epsilon));
  const changes = deltas.map((delta, i) => select(active[i] ?? delta, delta, constant(0)));
  return { origin, changes, count: sumOf(active) };
}

const sumOf = (xs: readonly Expr[]): Expr => linear(xs.map((x) => ({ weight: 1, x })));

async function enlargements(task: MergeTask, engine: TensorEngine, changes: readonly Expr[], count: Expr): Promise<number[]> {
  const several = compare("gt", count, constant(1));
  const counts = await engine.reduce(
    changes.flatMap((change) => [
      { op: "countNonZero" as const, x: change },
      { op: "countNonZero" as const, x: mul(change, several) },
    ]),
  );
  return changes.map((_, i) => {
    const sharedCount = counts[2 * i + 1] ?? 0;
    const uniqueCount = (counts[2 * i] ?? 0) - sharedCount;
    const ratio = sharedCount / Math.max(uniqueCount, numberOf(task, "epsilon"));
    return 1 + numberOf(task, "r") * Math.min(Number.isNaN(ratio) ? 0 : ratio, numberOf(task, "alpha"));
  });
}
