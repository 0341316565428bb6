// TSV-M (Gargiulo et al., CVPR 2025): the leading singular directions of each difference, an equal share of the rank for each
// model, made orthogonal to those of the others. As the authors' code has it: k = floor(r / models) triplets of each; what is left
// over of the rank stays empty; both sides are replaced by their polar factors and the singular values kept. Where models share a
// direction the stacked vectors are dependent and the authors' SVD picks any basis; here the shared direction counts once.
import { type Matrix, type MatrixSpace, productInSlices, transposeOf } from "../compute/linalg/matrix.ts";
import { polarFactor } from "../compute/linalg/polar.ts";
import { type Svd, svd } from "../compute/linalg/svd.ts";
import { squareBytes } from "./iso-c.ts";
import type { MergeMethod } from "./method.ts";
import { ALPHA, DIFFERENCE_WEIGHT, matrixBytes, mergeMatrices, warnRank } from "./whole-matrices.ts";

export const tsvM: MergeMethod = {
  id: "tsv_m",
  title: "TSV-M",
  kind: "matrix",
  summary: "Keeps the leading singular directions of each difference, an equal share for each model, and makes those of different models orthogonal.",
  formula:
    "U_i S_i V_i^T = the floor(r / n) leading triplets of w_i (W_i - B);  U = polar([U_1 ... U_n]), V likewise\nR = B + alpha U diag(S_1 ... S_n) V^T;  tensors that are no matrices: R = B + alpha mean_i w_i (W_i - B)",
  paper: { title: "Task Singular Vectors: Reducing Task Interference in Model Merging", url: "https://arxiv.org/abs/2412.00081", year: 2025 },
  parameters: [DIFFERENCE_WEIGHT, ALPHA],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  workingBytes: (shape, others) => matrixBytes(shape, others + 8) + squareBytes(shape),
  merge: (task, engine) =>
    mergeMatrices(task, engine, async (deltas, space) => {
      const share = Math.max(1, Math.floor(Math.min(...task.shape) / deltas.length));
      const triplets: Svd[] = [];
      for (const delta of deltas) {
        triplets.push(await svd(space, delta, share));
        space.free(delta);
      }
      warnRank(
        task,
        triplets.reduce((sum, { values }) => sum + values.length, 0),
        share * deltas.length,
      );
      return recombine(space, triplets, (values) => values);
    }),
};

/** polar(U) diag(f(s)) polar(V)^T of triplets side by side. @param strengths what to make of all singular values together */
export async function recombine(space: MatrixSpace, triplets: readonly Svd[], strengths: (values: Float64Array) => ArrayLike<number>): Promise<Matrix> {
  const values = Float64Array.from(triplets.flatMap((triplet) => [...triplet.values]));
  const [left, right] = [
    stack(
      space,
      triplets.map((t) => t.left),
    ),
    stack(
      space,
      triplets.map((t) => t.right),
    ),
  ];
  const [u, v] = [(await polarFactor(space, left)).factor, (await polarFactor(space, right)).factor];
  const scales = strengths(values);
  for (let k = 0; k < v.rows; k++)
    for (let j = 0; j < v.columns; j++) v.data[k * v.columns + j] = (v.data[k * v.columns + j] as number) * (scales[k] as number);
  const columns = transposeOf(space, u);
  const merged = space.zeros(columns.rows, v.columns);
  await productInSlices(space, columns, v, merged);
  return merged;
}

/** Rows of all matrices, one matrix's after another's; the parts are given back. */
function stack(space: MatrixSpace, parts: readonly Matrix[]): Matrix {
  const columns = parts[0]?.columns ?? 0;
  const all = space.zeros(
    parts.reduce((sum, { rows }) => sum + rows, 0),
    columns,
  );
  let at = 0;
  for (const { data } of parts) {
    all.data.set(data, at);
    at += data.length;
  }
  space.free(...parts);
  return all;
}
