// Arcee Fusion: take over only the changes that matter most, by their size and by how far they move the row they are in.
// The threshold is that of statistical outliers, median + 1.5 interquartile ranges, from all elements and never a sample.
import type { TensorEngine } from "../compute/engine.ts";
import { abs, add, compare, constant, type Expr, input, mul, perRow, select, sub } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";

/** Tensors up to this size are sorted outright. */
const SMALL = 256;

export const arceeFusion: MergeMethod = {
  id: "arcee_fusion",
  title: "Arcee Fusion",
  kind: "tensor",
  summary: "Takes over the other model's value where the change is large and its row's distribution moves, and keeps the base elsewhere.",
  formula: "I = |W - B| KL(softmax(W_row) || softmax(B_row)), rows taken as logits\nR = W where I >= median(I) + 1.5 (q75(I) - q25(I)), else B",
  paper: undefined,
  parameters: [],
  base: "one-of",
  models: { min: 1, max: 1 },
  passes: 5,
  sides: () => 1,
  async merge({ base, others: [other] }, engine) {
    if (base === undefined || other === undefined) throw new TypeError("arcee_fusion needs a base and one other model");
    const [origin, target] = [input(base.index), input(other.index)];
    const delta = sub(target, origin);
    const importance = mul(abs(delta), perRow(Float32Array.from(await engine.rowDivergences(target, origin))));
    const [q25, median, q75] = await quartiles(engine, importance);
    const threshold = median + Math.fround(1.5 * Math.fround(q75 - q25));
    return add(origin, select(compare("ge", importance, constant(threshold)), delta, constant(0)));
  },
};

/** Of non-negative values; quantile z is the value at place floor(z (N - 1)) of all in ascending order. */
async function quartiles(engine: TensorEngine, x: Expr): Promise<[number, number, number]> {
  const places = [0.25, 0.5, 0.75].map((z) => Math.floor(z * (engine.size - 1)));
  const [q25 = 0, median = 0, q75 = 0] = engine.size <= SMALL ? await bySorting(engine, x, places) : await bySelection(engine, x, places);
  return [q25, median, q75];
}

async function bySorting(engine: TensorEngine, x: Expr, places: readonly number[]): Promise<number[]> {
  const sorted = (await engine.values(x)).sort();
  return places.map((place) => sorted[place] ?? 0);
}

/** The value at a place is the smallest of the largest ones from there on. */
async function bySelection(engine: TensorEngine, x: Expr, places: readonly number[]): Promise<number[]> {
  const selections = await engine.selectLargest(places.map((place) => ({ x, keep: engine.size - place, ties: false as const })));
  return selections.map(({ threshold }) => threshold);
}
