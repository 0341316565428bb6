// 1bit-Merging (Liu et al., 2025): differences of chosen layers are kept as one bit per weight, the sign, and one scale per matrix. The scale
// is the mean magnitude, which loses least of all (in squares); a zero counts as positive. The paper compresses what holds less
// of a task, attention for mathematics and code, MLP for chat; which layers exactly it does not say and there is no code, so each
// model must be told. Only matrices of attention and MLP are compressed; all other differences stay whole.
import { placeOf } from "../checkpoints/tensor-roles.ts";
import { add, compare, constant, type Expr, input, linear, select, sub } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";
import { numberOf, WEIGHT, weightOf } from "./parameters.ts";

/** Bits of `compress`, by the role of a tensor. */
const CLASSES: Readonly<Record<string, number>> = { attention: 1, mlp: 2, expert: 2 };

/** Whether `compress` makes one-bit values of a tensor's difference. */
export const isCompressed = (name: string, shape: readonly number[], compress: number): boolean =>
  shape.length >= 2 && ((CLASSES[placeOf(name).role] ?? 0) & compress) !== 0;

export const oneBit: MergeMethod = {
  id: "one_bit",
  title: "1bit-Merging",
  kind: "tensor",
  summary: "Adds differences up of which chosen layers are reduced to signs and one scale per matrix.",
  formula: "q_i = mean|W_i - B| sign(W_i - B) in compressed layers, else W_i - B;  R = B + lambda sum_i w_i q_i",
  paper: { title: "1bit-Merging: Dynamic Quantized Merging for Large Language Models", url: "https://arxiv.org/abs/2502.10743", year: 2025 },
  parameters: [
    { ...WEIGHT, default: 1 },
    {
      name: "compress",
      scope: "model",
      type: "integer",
      range: { min: 0, max: 3 },
      doc: "Which layers of this model are compressed: 0 none, 1 attention, 2 MLP, 3 both.",
    },
    { name: "lambda", scope: "global", type: "number", default: 1, doc: "Factor for the merged difference before it is added to the base." },
  ],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  async merge(task, engine) {
    const { base, others } = task;
    if (base === undefined) throw new TypeError("one_bit needs a base");
    const deltas = others.map(({ index }) => sub(input(index), input(base.index)));
    const compressed = others.map((model) => isCompressed(task.name, task.shape, numberOf(model, "compress")));
    const sums = compressed.includes(true) ? await engine.reduce(deltas.map((x) => ({ op: "sumAbs", x }))) : [];
    const kept = deltas.map((x, i) => (compressed[i] ? signed(x, (sums[i] ?? 0) / Math.max(1, engine.size)) : x));
    const lambda = numberOf(task, "lambda");
    return add(input(base.index), linear(kept.map((x, i) => ({ weight: lambda * weightOf(others[i] as (typeof others)[number]), x }))));
  },
};

const signed = (x: Expr, scale: number): Expr => select(compare("lt", x, constant(0)), constant(-scale), constant(scale));
