// What the methods on whole matrices share: which tensors are matrices, loading differences, and what to do with the rest.
import type { TensorEngine } from "../compute/engine.ts";
import { add, type Expr, given, input, linear, sub } from "../compute/expr.ts";
import { loadMatrix } from "../compute/linalg/load-matrix.ts";
import { type Matrix, type MatrixSpace, transposeOf } from "../compute/linalg/matrix.ts";
import type { MergeInput, MergeTask, ParameterSpec } from "./method.ts";
import { numberOf } from "./parameters.ts";

/** Factor for the merged difference; every paper of the family searches it on validation data. */
export const ALPHA: ParameterSpec = {
  name: "alpha",
  scope: "global",
  type: "number",
  default: 1,
  doc: "Factor for the merged difference before it is added to the base.",
};

/** The weight of a model is a factor for its difference before anything else. */
export const DIFFERENCE_WEIGHT: ParameterSpec = {
  name: "weight",
  scope: "model",
  type: "number",
  default: 1,
  doc: "Factor for this model's difference from the base before the merge.",
};

/** As in the authors' code, every tensor of two dimensions is a matrix, embeddings too; one row or column has no directions to tell apart. */
export const isMatrix = ({ shape }: Pick<MergeTask, "shape">): boolean => shape.length === 2 && shape.every((size) => size > 1);

export function differences(task: MergeTask): Expr[] {
  const { base, others } = task;
  if (base === undefined) throw new TypeError("differences need a base");
  return others.map((model) => weighted(sub(input(model.index), input(base.index)), model));
}

const weighted = (x: Expr, model: MergeInput): Expr => {
  const weight = numberOf(model, "weight");
  return weight === 1 ? x : linear([{ weight, x }]);
};

/** base + alpha merged. */
export function ontoBase(task: MergeTask, merged: Expr): Expr {
  if (task.base === undefined) throw new TypeError("differences need a base");
  const alpha = numberOf(task, "alpha");
  return add(input(task.base.index), alpha === 1 ? merged : linear([{ weight: alpha, x: merged }]));
}

/** The authors' rule for tensors that are no matrices: the plain mean of the differences, never their sum. */
export const meanOf = (deltas: readonly Expr[]): Expr => linear(deltas.map((x) => ({ weight: 1 / deltas.length, x })));

/**
 * Merges matrices by `combine`, everything else by the mean. Differences that are not finite are averaged with a warning; where there are none
 * the base stays, and models without any are told too.
 */
export async function mergeMatrices(
  task: MergeTask,
  engine: TensorEngine,
  combine: (deltas: readonly Matrix[], space: MatrixSpace) => Matrix | Promise<Matrix>,
): Promise<Expr> {
  const deltas = differences(task);
  if (!isMatrix(task)) return ontoBase(task, meanOf(deltas));
  const sums = await engine.reduce(deltas.map((x) => ({ op: "sumSquares", x })));
  if (!sums.every(Number.isFinite)) {
    task.warn({ code: "matrix-not-finite", message: `${task.name} was averaged: its differences hold NaN or infinite values, which have no singular values` });
    return ontoBase(task, meanOf(deltas));
  }
  warnUnchanged(task, sums);
  if (sums.every((sum) => sum === 0)) return input(task.base?.index ?? 0);
  const merged = await engine.withMatrices(async (space) => {
    const matrices: Matrix[] = [];
    for (const x of deltas) matrices.push(byOutputs(task, await loadMatrix(engine, space, x), space));
    // A copy: what is in the space goes when it closes.
    return byOutputs(task, await combine(matrices, space), space).data.slice();
  });
  return ontoBase(task, given(merged));
}

/** Methods that tell inputs from outputs see a row per output, as papers do; and back again. */
function byOutputs({ inputsAlongRows }: MergeTask, matrix: Matrix, space: MatrixSpace): Matrix {
  if (inputsAlongRows !== true) return matrix;
  const turned = transposeOf(space, matrix);
  space.free(matrix);
  return turned;
}

function warnUnchanged({ name, others, warn }: MergeTask, energies: readonly number[]): void {
  const unchanged = others.filter((_, i) => energies[i] === 0).map(({ model }) => model);
  if (unchanged.length === 0) return;
  const all = unchanged.length === others.length;
  warn({
    code: "difference-zero",
    message: all ? `no model has changed ${name}: it is the base's` : `some models have not changed ${name}: they add no direction to it`,
    found: all ? `${unchanged.length} differences of zeros` : unchanged.join(", "),
  });
}

/** Tells where differences have fewer directions than the method would take. */
export function warnRank({ name, warn }: Pick<MergeTask, "name" | "warn">, found: number, wanted: number): void {
  if (found >= wanted) return;
  warn({
    code: "rank-deficient",
    message: `the differences of ${name} span fewer directions than the method takes; only those take part`,
    found: `${found} of ${wanted}`,
  });
}

/** Bytes of `count` float32 matrices of the tensor's shape. */
export const matrixBytes = (shape: readonly number[], count: number): number => (isMatrix({ shape }) ? count * shape.reduce((a, b) => a * b, 4) : 0);
