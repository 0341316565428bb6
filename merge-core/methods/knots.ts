// KnOTS (Stoica et al., ICLR 2025): one singular value decomposition of all differences side by side gives directions that they share;
// TIES merges the models' coefficients along these instead of the weights. As in the authors' code, singular values up to 1e-5
// are dropped and the decomposition is of the differences set along the input side. The code trims over all layers at once, this method
// over each tensor; where a sum of signs is zero the positive one is elected, as in ties here, and not the majority of the model.
import { firstRows, type Matrix, type MatrixSpace, productInSlices, transposeOf } from "../compute/linalg/matrix.ts";
import { type Svd, svd } from "../compute/linalg/svd.ts";
import { selectInMemory } from "../compute/select-in-memory.ts";
import { squareBytes } from "./iso-c.ts";
import type { MergeMethod, MergeTask } from "./method.ts";
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
    mergeMatrices(task, engine, async (deltas, space) => {
      const [{ rows, columns }] = deltas as [Matrix];
      const { left, values, right } = await svd(space, sideBySide(space, deltas));
      const merged = await mergeAlong(task, { values, right }, Math.min(rows, columns * task.others.length), space);
      const basis = transposeOf(space, firstRows(left, merged.rows));
      const result = space.zeros(basis.rows, columns);
      await productInSlices(space, basis, merged, result);
      return result;
    }),
};

/**
 * What the left vectors are multiplied by, [k, columns], of the k directions whose values count; factors of low rank know these without their products.
 * @param right [D_1 ... D_n]'s right vectors as rows @param directions as many as there could be
 */
export async function mergeAlong(
  task: Pick<MergeTask, "name" | "others" | "parameters" | "warn">,
  { values, right }: Omit<Svd, "left">,
  directions: number,
  space: MatrixSpace,
): Promise<Matrix> {
  const rank = values.filter((value) => value > SMALLEST_VALUE).length;
  warnRank(task, rank, directions);
  const coefficients: Matrix[] = [];
  for (const [i, model] of task.others.entries()) {
    const part = coefficientsOf(space, right, values, rank, i, task.others.length);
    coefficients.push(trimmed(part, Math.max(1, Math.floor(numberOf(model, "density") * part.data.length))));
    await space.pause();
  }
  return combine(space, coefficients, flagOf(task, "elect"));
}

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
  const { data } = part;
  if (keep >= data.length) return part;
  const { threshold, tieLimit } = selectInMemory(data, keep);
  for (let i = 0; i < data.length; i++) {
    const size = Math.abs(data[i] as number);
    if (size < threshold || (size === threshold && i >= tieLimit)) data[i] = 0;
  }
  return part;
}

async function combine(space: MatrixSpace, parts: readonly Matrix[], elect: boolean): Promise<Matrix> {
  const [{ rows, columns }] = parts as [Matrix];
  const merged = space.zeros(rows, columns);
  for (let row = 0; row < rows; row++) {
    for (let i = row * columns; i < (row + 1) * columns; i++) {
      let sum = 0;
      for (const { data } of parts) sum += data[i] as number;
      merged.data[i] = elect ? meanOfSign(parts, i, sum >= 0) : sum;
    }
    await space.pause();
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
