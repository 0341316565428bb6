// RegMean (Jin et al., ICLR 2023): the matrix whose outputs differ least from each model's own on that model's own inputs, from the Gram
// matrices of these inputs alone. In closed form W = (sum_i W_i G_i) (sum_i G_i)^-1 for weights with a row per output. Elements
// off the diagonal are scaled by alpha, as in paper and code; the authors use 1 for RoBERTa, 0.1 for T5 and recommend about 0.9, the default.
// The code inverts in float32; here the deviation from the mean is solved for by Cholesky factors in float64, so that equal Gram
// matrices give exactly the mean. Where inputs never occur the sum is singular, which the code does not expect: a ridge of a millionth
// of the mean diagonal, towards the mean of the models, is then added. Biases, norms and embeddings are averaged, as in the code.

import type { TensorEngine } from "../compute/engine.ts";
import { add, type Expr, given, input, sub } from "../compute/expr.ts";
import { loadMatrix } from "../compute/linalg/load-matrix.ts";
import { type Matrix, type MatrixSpace, productInSlices } from "../compute/linalg/matrix.ts";
import { meanByWeight } from "./fisher.ts";
import type { GramSource, MergeInput, MergeMethod, MergeTask } from "./method.ts";
import { numberOf, weightOf, zeroWeightSum } from "./parameters.ts";

export const regmean: MergeMethod = {
  id: "regmean",
  title: "RegMean",
  kind: "matrix",
  summary: "Finds the matrix whose outputs differ least from each model's on that model's inputs, from their Gram matrices; averages other tensors.",
  formula: "G_i = w_i (a E[x x^T] + (1 - a) diag E[x x^T]);  R = (sum_i W_i G_i) (sum_i G_i)^-1;  tensors without Gram matrices: sum_i w_i W_i / sum_i w_i",
  paper: { title: "Dataless Knowledge Fusion by Merging Weights of Language Models", url: "https://arxiv.org/abs/2212.09849", year: 2023 },
  data: "gram",
  parameters: [
    { name: "weight", scope: "model", type: "number", default: 1, range: { min: 0 }, doc: "Factor for this model's Gram matrices." },
    {
      name: "alpha",
      scope: "global",
      type: "number",
      default: 0.9,
      range: { min: 0, max: 1 },
      doc: "Factor for the elements of the Gram matrices off their diagonal.",
    },
  ],
  base: "none",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  // The sum in float64 and a Gram matrix; the right sides and the same in float64; blocks that the solver has in hand.
  workingBytes: ([rows = 1, columns = 1]) => 12 * Math.max(rows, columns) ** 2 + 12 * rows * columns + 2048 * (Math.max(rows, columns) + 128),
  check: ({ inputs }) => zeroWeightSum(inputs),
  merge: async (task, engine) => {
    const grams = task.inputs.flatMap(({ gram }) => gram ?? []);
    const mean = meanByWeight(task);
    if (grams.length < task.inputs.length || task.shape.length !== 2) return mean;
    const sums = await engine.reduce(task.inputs.map(({ index }) => ({ op: "sumAbs", x: input(index) })));
    if (!sums.every(Number.isFinite)) return averaged(task, mean, "matrix-not-finite", "its weights hold NaN or infinite values");
    const deviation = await engine.withMatrices((space) => solve(task, engine, space, grams[0] as GramSource, mean));
    return typeof deviation === "string" ? averaged(task, mean, "gram-unusable", deviation) : add(mean, given(deviation));
  },
};

function averaged(task: MergeTask, mean: Expr, code: string, why: string): Expr {
  task.warn({ code, message: `${task.name} was averaged: ${why}` });
  return mean;
}

/** Of the mean diagonal. */
const RIDGE = 1e-6;

/** How far the result is from the mean, or why there is none. */
async function solve(task: MergeTask, engine: TensorEngine, space: MatrixSpace, { side }: GramSource, mean: Expr): Promise<Float32Array | string> {
  const [rows = 1, columns = 1] = task.shape;
  const size = side === "rows" ? rows : columns;
  const total = space.doubles(size * size);
  const right = space.zeros(rows, columns);
  const gram = space.zeros(size, size);
  await sumGrams(task, gram, total, async (model) => {
    const deviation = await loadMatrix(engine, space, sub(input(model.index), mean));
    if (side === "rows") await productInSlices(space, gram, deviation, right, { accumulate: true });
    else await productInSlices(space, deviation, gram, right, { accumulate: true });
    space.free(deviation);
  });
  const diagonal = Float64Array.from({ length: size }, (_, i) => total[i * (size + 1)] as number);
  const scale = diagonal.reduce((sum, x) => sum + x, 0) / size;
  if (!total.every(Number.isFinite)) return "its Gram matrices hold NaN or infinite values";
  if (!(scale > 0) || diagonal.some((x) => x < 0)) return "its Gram matrices are empty, or no Gram matrices";
  if (await solveLines(space, total, size, right, side)) return right.data.slice();
  // The attempt has overwritten the sum.
  await sumGrams(task, gram, total);
  for (let i = 0; i < size; i++) total[i * (size + 1)] = (diagonal[i] as number) + RIDGE * scale;
  if (!(await solveLines(space, total, size, right, side))) return "its Gram matrices are not positive definite";
  task.warn({
    code: "gram-singular",
    message: `the Gram matrices of ${task.name} do not span its inputs; a ridge of a millionth of their mean diagonal was added`,
  });
  return right.data.slice();
}

/** Adds up the models' Gram matrices; each is in `gram` while `use` is called with its model. */
async function sumGrams(task: MergeTask, gram: Matrix, total: Float64Array, use?: (model: MergeInput) => Promise<void>): Promise<void> {
  total.fill(0);
  for (const model of task.inputs) {
    await readShrunk(task, model, gram);
    for (let i = 0; i < total.length; i++) total[i] = (total[i] as number) + (gram.data[i] as number);
    await use?.(model);
  }
}

/** The model's Gram matrix, weighted, with its elements off the diagonal made smaller. */
async function readShrunk(task: MergeTask, model: MergeInput, { data, columns }: Matrix): Promise<void> {
  await model.gram?.read(data);
  const [weight, alpha] = [weightOf(model), numberOf(task, "alpha")];
  for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * weight * (i % (columns + 1) === 0 ? 1 : alpha);
}

/**
 * Solves for every row, or where inputs go along rows for every column, in place. The sum is overwritten.
 * @returns false, with nothing solved, if the sum is not positive definite
 */
async function solveLines(space: MatrixSpace, total: Float64Array, size: number, { data, rows, columns }: Matrix, side: GramSource["side"]): Promise<boolean> {
  const lines = side === "rows" ? columns : rows;
  // A column of the right sides for each line.
  const [step, next] = side === "rows" ? [columns, 1] : [1, columns];
  const right = space.doubles(size * lines);
  for (let i = 0; i < size; i++) for (let k = 0; k < lines; k++) right[i * lines + k] = data[i * step + k * next] as number;
  const isSolved = await space.solvePositive(total, size, right, lines);
  if (isSolved) for (let i = 0; i < size; i++) for (let k = 0; k < lines; k++) data[i * step + k * next] = right[i * lines + k] as number;
  space.free({ data: right });
  return isSolved;
}
