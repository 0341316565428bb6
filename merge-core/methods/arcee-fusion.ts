// Arcee Fusion: take over only the changes that matter most, by their size and by how far they move the row they are in.
// The threshold is that of statistical outliers, median + 1.5 interquartile ranges, from all elements and never a sample.
import type { TensorEngine } from "../compute/engine.ts";
import { abs, add, compare, constant, type Expr, input, mul, perRow, select, sub } from "../compute/expr.ts";
import { eachRowBlock, lineCounts } from "./lines.ts";
import type { MergeMethod } from "./method.ts";

/** Added to probabilities, so that none is zero. */
const SMALLEST_PROBABILITY = 1e-8;
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
  async merge({ base, others: [other] }, engine) {
    if (base === undefined || other === undefined) throw new TypeError("arcee_fusion needs a base and one other model");
    const [origin, target] = [input(base.index), input(other.index)];
    const delta = sub(target, origin);
    const importance = mul(abs(delta), perRow(await rowDivergences(engine, target, origin)));
    const [q25, median, q75] = await quartiles(engine, importance);
    const threshold = median + Math.fround(1.5 * Math.fround(q75 - q25));
    return add(origin, select(compare("ge", importance, constant(threshold)), delta, constant(0)));
  },
};

/** Kullback-Leibler divergence of each row's softmax from the base's; rounding below zero counts as zero. */
async function rowDivergences(engine: TensorEngine, target: Expr, origin: Expr): Promise<Float32Array> {
  const { rows, columns } = lineCounts(engine);
  const divergences = new Float32Array(rows);
  await eachRowBlock(engine, [target, origin], ([p, q], first) => {
    if (p === undefined || q === undefined) return;
    for (let start = 0; start < p.length; start += columns)
      divergences[first + start / columns] = Math.max(0, divergence(p.subarray(start, start + columns), q.subarray(start, start + columns)));
  });
  return divergences;
}

function divergence(a: Float32Array, b: Float32Array): number {
  const [p, q] = [logSumExp(a), logSumExp(b)];
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const pi = Math.exp((a[i] as number) - p) + SMALLEST_PROBABILITY;
    const qi = Math.exp((b[i] as number) - q) + SMALLEST_PROBABILITY;
    sum += pi * Math.log(pi / qi);
  }
  return sum;
}

function logSumExp(values: Float32Array): number {
  const most = values.reduce((max, x) => Math.max(max, x), Number.NEGATIVE_INFINITY);
  return most + Math.log(values.reduce((sum, x) => sum + Math.exp(x - most), 0));
}

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
