// KnOTS (Stoica et al., ICLR 2025): one singular value decomposition of all differences side by side gives directions that they share;
// TIES merges the models' coefficients along these instead of the weights. As in the authors' code, singular values up to 1e-5
// are dropped and the decomposition is of the differences set along the input side. The code trims over all layers at once, this method
// over each tensor; where a sum of signs is zero the positive one is elected, as in ties here, and not the majority of the model.
import { type Matrix, type MatrixSpace, transposeOf } from "../compute/linalg/matrix.ts";
import { svd } from "../compute/linalg/svd.ts";
import { magnitudeKeys } from "../compute/reference.ts";
import { squareBytes } from "./iso-c.ts";
import type { MergeMethod } from "./method.ts";
import { DENSITY, flagOf, numberOf } from "./parameters.ts";
import { ALPHA, DIFFERENCE_WEIGHT, matrixBytes, mergeMatrices, warnRank } from "./whole-matrices.ts";

const SMALLEST_VALUE = 1e-5;

export const knots: MergeMethod = {
  id: "knots",
  title: "KnOTS-TIES",
  kind: "matrix",
  summary: "Aligns the differences by one joint singular value decomposition and merges their coefficients as TIES does.",
  formula:
    "[D_1 ... D_n] = U S [V_1 ... V_n]^T, D_i = w_i (W_i - B);  C_i = trim(S V_i^T)\nR = B + alpha U C, with C the mean of the C_i that agree with the sign of their sum, or their sum;  tensors that are no matrices: R = B + alpha mean_i D_i",
  paper: { title: "Model Merging with SVD to Tie the Knots", url: "https://arxiv.org/abs/2410.19735", year: 2025 },
  parameters: [
    DIFFERENCE_WEIGHT,
    { ...DENSITY, default: 0.2, doc: "Fraction of the model's coefficients that is kept." },
    { ...ALPHA, default: 0.6 },
    {
      name: "elect",
      scope: "global",
      type: "flag",
      default: 1,
      doc: "Average what agrees with the elected sign; without it coefficients are added up, which at density 1 is task arithmetic.",
    },
  ],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  workingBytes: (shape, others) => matrixBytes(shape, 7 * others + 4) + squareBytes(shape),
  merge: (task, engine) =>
    mergeMatrices(task, engine, (deltas, space) => {
      const { left, values, right } = svd(space, sideBySide(space, deltas));
      const rank = values.filter((value) => value > SMALLEST_VALUE).length;
      const [rows = 0, columns = 0] = task.shape;
      warnRank(task, rank, Math.min(rows, columns * task.others.length));
      const coefficients = task.others.map((model, i) => {
        const part = coefficientsOf(space, right, values, rank, i, deltas.length);
        return trimmed(part, Math.max(1, Math.floor(numberOf(model, "density") * part.data.length)));
      });
      const merged = combine(space, coefficients, flagOf(task, "elect"));
      const basis = transposeOf(space, { ...left, rows: rank, data: left.data.subarray(0, rank * left.columns) });
      return space.product(basis, merged);
    }),
};

function sideBySide(space: MatrixSpace, deltas: readonly Matrix[]): Matrix {
  const [{ rows, columns }] = deltas as [Matrix];
  const all = space.zeros(rows, columns * deltas.length);
  for (const [t, { data }] of deltas.entries())
    for (let i = 0; i < rows; i++) all.data.set(data.subarray(i * columns, (i + 1) * columns), i * all.columns + t * columns);
  space.free(...deltas);
  return all;
}

/** Rows S V_t^T of one model. */
function coefficientsOf(space: MatrixSpace, right: Matrix, values: Float64Array, rank: number, model: number, models: number): Matrix {
  const columns = right.columns / models;
  const part = space.zeros(rank, columns);
  for (let k = 0; k < rank; k++)
    for (let j = 0; j < columns; j++) part.data[k * columns + j] = (values[k] as number) * (right.data[k * right.columns + model * columns + j] as number);
  return part;
}

/** Zeros all but the `keep` largest, in place; ties go to the lowest index. */
function trimmed(part: Matrix, keep: number): Matrix {
  if (keep >= part.data.length) return part;
  const keys = magnitudeKeys(part.data);
  const sorted = keys.toSorted();
  const threshold = sorted[sorted.length - keep] as number;
  let ties = keep - (sorted.length - 1 - sorted.lastIndexOf(threshold));
  for (let i = 0; i < keys.length; i++) if ((keys[i] as number) < threshold || (keys[i] === threshold && ties-- <= 0)) part.data[i] = 0;
  return part;
}

function combine(space: MatrixSpace, parts: readonly Matrix[], elect: boolean): Matrix {
  const [{ rows, columns }] = parts as [Matrix];
  const merged = space.zeros(rows, columns);
  for (let i = 0; i < merged.data.length; i++) {
    const sum = parts.reduce((total, { data }) => total + (data[i] as number), 0);
    merged.data[i] = elect ? meanOfSign(parts, i, sum >= 0) : sum;
  }
  return merged;
}

function meanOfSign(parts: readonly Matrix[], i: number, positive: boolean): number {
  let [sum, count] = [0, 0];
  for (const { data } of parts) {
    const x = data[i] as number;
    if (positive ? x <= 0 : x >= 0) continue;
    sum += x;
    count++;
  }
  return sum / Math.max(1, count);
}
