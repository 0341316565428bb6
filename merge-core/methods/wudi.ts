// WUDI (Cheng et al., ICML 2025): RegMean without data, the rows of each difference standing in for a layer's inputs. As the released
// code has it: from the sum of the differences, Adam (learning rate 1e-5, 300 steps) on sum_i ||(M - D_i) D_i^T||^2 / ||D_i||^2, whose
// gradient is 2 sum_i (M - D_i) G_i with G_i = D_i^T D_i / ||D_i||^2; no scale. Moments are kept in float32.
import { dot, type Matrix, type MatrixSpace, productInSlices, transposeOf } from "../compute/linalg/matrix.ts";
import { inTurns } from "../compute/linalg/steps.ts";
import { scaled } from "./iso-c.ts";
import type { MergeMethod } from "./method.ts";
import { numberOf } from "./parameters.ts";
import { ALPHA, DIFFERENCE_WEIGHT, matrixBytes, mergeMatrices } from "./whole-matrices.ts";

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;

export const wudi: MergeMethod = {
  id: "wudi",
  title: "WUDI-Merging",
  kind: "matrix",
  summary: "Finds the matrix that differs from each model's difference least along that model's own directions, by descent from their sum.",
  formula:
    "D_i = w_i (W_i - B);  M = argmin sum_i ||(M - D_i) D_i^T||^2 / ||D_i||^2, by Adam from sum_i D_i\nR = B + alpha M;  tensors that are no matrices: R = B + alpha mean_i D_i",
  paper: {
    title: "Whoever Started the Interference Should End It: Guiding Data-Free Model Merging via Task Vectors",
    url: "https://arxiv.org/abs/2503.08099",
    year: 2025,
  },
  parameters: [
    DIFFERENCE_WEIGHT,
    ALPHA,
    { name: "iterations", scope: "global", type: "integer", default: 300, range: { min: 0, max: 100000 }, doc: "Steps of Adam." },
    { name: "learning_rate", scope: "global", type: "number", default: 1e-5, range: { min: 0, minOpen: true }, doc: "Learning rate of Adam." },
  ],
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  workingBytes: (shape, others) => matrixBytes(shape, others + 7) + matrixBytes([shape[1] ?? 1, shape[1] ?? 1], 1),
  merge: (task, engine) =>
    mergeMatrices(task, engine, async (deltas, space) => {
      const { gram, target } = await normalEquations(space, deltas);
      const merged = space.zeros(target.rows, target.columns);
      for (const { data } of deltas) for (let i = 0; i < data.length; i++) merged.data[i] = (merged.data[i] as number) + (data[i] as number);
      space.free(...deltas);
      await descend(space, merged, gram, target, numberOf(task, "iterations"), numberOf(task, "learning_rate"));
      return merged;
    }),
};

/** sum G_i and sum D_i G_i: the gradient is 2 (M sum G_i - sum D_i G_i), two products a step whatever the number of models. */
async function normalEquations(space: MatrixSpace, deltas: readonly Matrix[]): Promise<{ gram: Matrix; target: Matrix }> {
  const [{ rows, columns }] = deltas as [Matrix];
  const gram = space.zeros(columns, columns);
  const target = space.zeros(rows, columns);
  for (const delta of deltas) {
    const energy = dot(delta.data, delta.data);
    // A model without changes asks for nothing.
    if (energy === 0) continue;
    const turned = transposeOf(space, delta);
    const own = scaled(await inTurns(space.gram(turned), space.pause), 1 / energy);
    for (let i = 0; i < gram.data.length; i++) gram.data[i] = (gram.data[i] as number) + (own.data[i] as number);
    await productInSlices(space, delta, own, target, { accumulate: true });
    space.free(own, turned);
  }
  return { gram, target };
}

async function descend(space: MatrixSpace, merged: Matrix, gram: Matrix, target: Matrix, steps: number, rate: number): Promise<void> {
  const [gradient, first, second] = [0, 1, 2].map(() => space.zeros(merged.rows, merged.columns)) as [Matrix, Matrix, Matrix];
  for (let step = 1; step <= steps; step++) {
    await productInSlices(space, merged, gram, gradient);
    const [correction1, correction2] = [1 - BETA1 ** step, 1 - BETA2 ** step];
    for (let i = 0; i < merged.data.length; i++) {
      const g = 2 * ((gradient.data[i] as number) - (target.data[i] as number));
      const m = BETA1 * (first.data[i] as number) + (1 - BETA1) * g;
      const v = BETA2 * (second.data[i] as number) + (1 - BETA2) * g * g;
      first.data[i] = m;
      second.data[i] = v;
      merged.data[i] = (merged.data[i] as number) - (rate * (m / correction1)) / (Math.sqrt(v / correction2) + EPSILON);
    }
  }
}
