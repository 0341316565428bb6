// Model Stock (Jang et al., 2024): how far to go from the base towards the mean of the models follows from the angle
// between their differences. Cosines are averaged over all pairs; the ratio is not clamped, as in the field's recipes.
import type { TensorEngine } from "../compute/engine.ts";
import { add, type Expr, input, linear, mul, perRow, sub } from "../compute/expr.ts";
import { clampCosine, type Gram, gramMatrix, normsOf } from "./gram.ts";
import { lineGrams } from "./lines.ts";
import type { MergeMethod, MergeTask } from "./method.ts";
import { flagOf, numberOf } from "./parameters.ts";

export const modelStock: MergeMethod = {
  id: "model_stock",
  title: "Model Stock",
  kind: "tensor",
  summary: "Interpolates between the base and the mean of the models, the further the more their differences from the base agree.",
  formula: "c = mean of cos(W_i - B, W_j - B) over pairs;  t = n c / (1 + (n - 1) c)\nR = t mean_i W_i + (1 - t) B",
  paper: { title: "Model Stock: All we need is just a few fine-tuned models", url: "https://arxiv.org/abs/2403.19522", year: 2024 },
  parameters: [
    { name: "filter_wise", scope: "global", type: "flag", default: 0, doc: "Find a ratio for each row instead of one for the tensor." },
    {
      name: "norm_floor",
      scope: "global",
      type: "number",
      default: 1e-6,
      range: { min: 0 },
      doc: "Least product of norms that a cosine is divided by; tensors whose differences are tiny stay with the base unless it is 0.",
    },
  ],
  base: "required",
  models: { min: 2, max: Number.POSITIVE_INFINITY },
  passes: 2,
  sides: (_, { filter_wise }) => (filter_wise === 1 ? 2 : 0),
  async merge(task, engine) {
    const { base, others } = task;
    if (base === undefined) throw new TypeError("model_stock needs a base");
    const deltas = others.map(({ index }) => sub(input(index), input(base.index)));
    const models = others.map(({ index }) => input(index));
    return flagOf(task, "filter_wise") ? mixRows(task, engine, deltas, models, input(base.index)) : mixWhole(task, engine, deltas, models, input(base.index));
  },
};

async function mixWhole(task: MergeTask, engine: TensorEngine, deltas: readonly Expr[], models: readonly Expr[], base: Expr): Promise<Expr> {
  const ratio = interpolationRatio(await gramMatrix(engine, deltas), numberOf(task, "norm_floor"));
  warnOutside(task, [ratio]);
  return linear([...models.map((x) => ({ weight: ratio / models.length, x })), { weight: 1 - ratio, x: base }]);
}

async function mixRows(task: MergeTask, engine: TensorEngine, deltas: readonly Expr[], models: readonly Expr[], base: Expr): Promise<Expr> {
  const ratios = (await lineGrams(engine, deltas, "row")).map((gram) => interpolationRatio(gram, numberOf(task, "norm_floor")));
  warnOutside(task, ratios);
  const mean = linear(models.map((x) => ({ weight: 1 / models.length, x })));
  return add(mul(perRow(Float32Array.from(ratios)), mean), mul(perRow(Float32Array.from(ratios, (t) => 1 - t)), base));
}

/** t of the paper from inner products of the differences. */
function interpolationRatio(gram: Gram, floor: number): number {
  const norms = normsOf(gram);
  const cosines = gram.flatMap((row, i) => row.slice(i + 1).map((dot, k) => cosine(dot, (norms[i] ?? 0) * (norms[i + 1 + k] ?? 0), floor)));
  const mean = cosines.reduce((sum, c) => sum + c, 0) / cosines.length;
  const n = gram.length;
  const divisor = 1 + (n - 1) * mean;
  // Differences that cancel out leave the ratio without a value; their mean is the base, so any ratio gives it.
  return divisor === 0 ? 0 : (n * mean) / divisor;
}

function cosine(dot: number, normProduct: number, floor: number): number {
  const divisor = Math.max(normProduct, floor);
  return divisor === 0 ? 0 : clampCosine(dot / divisor);
}

function warnOutside(task: MergeTask, ratios: readonly number[]): void {
  const ratio = ratios.find((t) => !(t >= 0 && t <= 1));
  if (ratio === undefined) return;
  task.warn({
    code: "ratio-outside",
    message: `model_stock goes beyond its models in ${task.name}`,
    found: `ratio ${Number(ratio.toPrecision(4))}`,
    expected: "a ratio in [0, 1]",
  });
}
