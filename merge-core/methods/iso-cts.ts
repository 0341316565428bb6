// Iso-CTS (Marczak et al., ICML 2025): the leading directions that the sum of the differences shares, plus for each model the leading
// directions of what of its difference lies outside them; all made orthogonal and equally strong. As paper and code have it, the
// share of each model is rounded to whole directions, only the left side is projected, model directions come before common ones, and the
// strength is the mean of all singular values kept. Directions that do not exist (lower rank) are left out of that mean.
import { copyOf, type Matrix, type MatrixSpace, productInSlices, transposeOf } from "../compute/linalg/matrix.ts";
import { type Svd, svd } from "../compute/linalg/svd.ts";
import { ISO_PAPER, squareBytes, sumInto } from "./iso-c.ts";
import type { MergeMethod } from "./method.ts";
import { numberOf } from "./parameters.ts";
import { recombine } from "./tsv-m.ts";
import { ALPHA, DIFFERENCE_WEIGHT, matrixBytes, mergeMatrices, warnRank } from "./whole-matrices.ts";

export const isoCts: MergeMethod = {
  id: "iso_cts",
  title: "Iso-CTS",
  kind: "matrix",
  summary: "Combines directions that all differences share with directions of each alone, orthogonal and equally strong.",
  formula:
    "U, S, V = the k leading triplets of sum_i w_i (W_i - B), k near common r\nU_i, S_i, V_i = the (r - k) / n leading triplets of (I - U U^T) w_i (W_i - B)\nR = B + alpha mean(all S) polar([U_1 ... U_n U]) polar([V_1 ... V_n V])^T;  tensors that are no matrices: R = B + alpha mean_i w_i (W_i - B)",
  paper: ISO_PAPER,
  parameters: [
    DIFFERENCE_WEIGHT,
    ALPHA,
    {
      name: "common",
      scope: "global",
      type: "number",
      default: 0.8,
      range: { min: 0, max: 1 },
      doc: "Share of the directions that are common to all models; 1 is Iso-C.",
    },
  ],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  workingBytes: (shape, others) => matrixBytes(shape, 2 * others + 9) + squareBytes(shape),
  merge: (task, engine) =>
    mergeMatrices(task, engine, async (deltas, space) => {
      const { common, own } = shares(Math.min(...task.shape), deltas.length, numberOf(task, "common"));
      const shared = await svd(
        space,
        sumInto(
          deltas.map((delta) => copyOf(space, delta)),
          space,
        ),
        common,
      );
      const alone: Svd[] = [];
      if (own > 0) for (const delta of deltas) alone.push(await svd(space, await outside(space, delta, shared), own));
      warnRank(
        task,
        [shared, ...alone].reduce((sum, { values }) => sum + values.length, 0),
        common + own * deltas.length,
      );
      return recombine(space, [...alone, shared], (values) => new Float64Array(values.length).fill(mean(values)));
    }),
};

/** Directions for the common part and for each model; together at most the rank. */
export function shares(rank: number, models: number, common: number): { common: number; own: number } {
  const wanted = roundToEven((rank - Math.floor(rank * common)) / models);
  const own = Math.max(0, Math.min(wanted, Math.floor(rank / models)));
  return { common: rank - own * models, own };
}

/** As the authors' language rounds. */
function roundToEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x);
}

/** D - U U^T D, in the memory of D. */
async function outside(space: MatrixSpace, delta: Matrix, { left }: Svd): Promise<Matrix> {
  const [coefficients, inside] = [space.zeros(left.rows, delta.columns), space.zeros(delta.rows, delta.columns)];
  await productInSlices(space, left, delta, coefficients);
  const basis = transposeOf(space, left);
  await productInSlices(space, basis, coefficients, inside);
  for (let i = 0; i < delta.data.length; i++) delta.data[i] = (delta.data[i] as number) - (inside.data[i] as number);
  space.free(coefficients, inside, basis);
  return delta;
}

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
