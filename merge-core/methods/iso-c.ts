// Iso-C (Marczak et al., ICML 2025): add the differences up and give all directions of the sum the same strength, the mean of its
// singular values. The authors decompose; the same matrix is the mean times the polar factor, which needs products only.
// Paper and code agree. Where the sum has lower rank than its size (merged LoRA), the authors' result depends on the basis that
// their SVD happens to give the null space; here only directions above a few millionths of the largest take part, in the mean too.
import type { Matrix, MatrixSpace } from "../compute/linalg/matrix.ts";
import { polarFactor } from "../compute/linalg/polar.ts";
import type { MergeMethod } from "./method.ts";
import { ALPHA, DIFFERENCE_WEIGHT, isMatrix, matrixBytes, mergeMatrices, warnRank } from "./whole-matrices.ts";

export const ISO_PAPER = {
  title: "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces",
  url: "https://arxiv.org/abs/2502.04959",
  year: 2025,
};

export const isoC: MergeMethod = {
  id: "iso_c",
  title: "Iso-C",
  kind: "matrix",
  summary: "Adds the differences up and makes all directions of each matrix equally strong; averages the differences of other tensors.",
  formula: "D = sum_i w_i (W_i - B) = U S V^T;  R = B + alpha mean(S) U V^T;  tensors that are no matrices: R = B + alpha mean_i w_i (W_i - B)",
  paper: ISO_PAPER,
  parameters: [DIFFERENCE_WEIGHT, ALPHA],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  workingBytes: (shape, others) => matrixBytes(shape, others + 5) + squareBytes(shape),
  merge: (task, engine) =>
    mergeMatrices(task, engine, async (deltas, space) => {
      const { factor, rank, nuclear } = await polarFactor(space, sumInto(deltas, space));
      warnRank(task, rank, Math.min(...task.shape));
      return scaled(factor, rank === 0 ? 0 : nuclear / rank);
    }),
};

/** Blocks that the float64 kernels pack for themselves, on a few threads. */
const PACKED_BYTES = 4 * 2 ** 20;

/** Two Gram matrices of the smaller side, and what the kernels of a polar factor take beside matrices. */
export const squareBytes = (shape: readonly number[]): number =>
  matrixBytes([Math.min(...shape), Math.min(...shape)], 2) + (isMatrix({ shape }) ? PACKED_BYTES : 0);

/** The sum, in the first matrix; the others are given back. */
export function sumInto(deltas: readonly Matrix[], space: MatrixSpace): Matrix {
  const [sum, ...others] = deltas;
  if (sum === undefined) throw new TypeError("no differences to add up");
  for (const { data } of others) for (let i = 0; i < data.length; i++) sum.data[i] = (sum.data[i] as number) + (data[i] as number);
  space.free(...others);
  return sum;
}

export function scaled(matrix: Matrix, factor: number): Matrix {
  for (let i = 0; i < matrix.data.length; i++) matrix.data[i] = (matrix.data[i] as number) * factor;
  return matrix;
}
