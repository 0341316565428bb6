// Model Breadcrumbs (Davari & Belilovsky, 2023): drop the smallest elements of each difference and also the largest few.

import { input, sub } from "../compute/expr.ts";
import type { MergeInput, MergeMethod, ParameterSpec } from "./method.ts";
import { flagOf, numberOf } from "./parameters.ts";
import { densityOf, mergeTaskVectors, restoreNorms, type Sparsify, type TaskVector, taskVectorParameters } from "./task-vectors.ts";
import { WHOLE_VECTOR, wholeSelection, wholeVectorThresholds } from "./whole-vector.ts";

const GAMMA: ParameterSpec = {
  name: "gamma",
  scope: "model",
  type: "number",
  default: 0.01,
  range: { min: 0, max: 1 },
  doc: "Fraction of the elements, the largest by magnitude, that is dropped as outliers.",
};

interface Band {
  /** Largest elements kept, outliers included. */
  readonly kept: number;
  /** Of those, the largest dropped again. */
  readonly outliers: number;
}

/** Of `size` elements the density's share, just below the outliers; outliers give way if both do not fit. */
function bandOf(density: number, gamma: number, size: number): Band {
  const target = Math.floor(density * size);
  const outliers = Math.min(Math.floor(gamma * size), size - target);
  return { kept: target + outliers, outliers };
}

const wholeKeys = ({ model, modelIndex }: MergeInput): [string, string] => [`band ${modelIndex} ${model}`, `outliers ${modelIndex} ${model}`];

/** Both ends of the band of each model's difference as a whole. */
const bandOfAll = wholeVectorThresholds(({ base, others }, size) =>
  others
    .filter((model) => densityOf(model) < 1)
    .flatMap((model) => {
      const x = sub(input(model.index), input(base?.index ?? 0));
      const { kept, outliers } = bandOf(densityOf(model), numberOf(model, "gamma"), size);
      const [band, above] = wholeKeys(model);
      return [
        { key: band, x, keep: kept },
        { key: above, x, keep: outliers },
      ];
    }),
);

/** Keeps a band of magnitudes. A difference of density 1 stays as it is, outliers included. */
const keepBand: Sparsify = async (vectors, task, engine) => {
  const bands = vectors.map(({ model }) => (densityOf(model) < 1 ? bandOf(densityOf(model), numberOf(model, "gamma"), engine.size) : undefined));
  const whole = vectors.map(({ model }) => wholeKeys(model).map((key) => wholeSelection(task, key)));
  const items = vectors.flatMap(({ delta }, i) => {
    const band = bands[i];
    return band === undefined || whole[i]?.[0] !== undefined ? [] : [band.kept, band.outliers].map((keep) => ({ x: delta, keep }));
  });
  const selections = items.length === 0 ? [] : await engine.selectLargest(items);
  let next = 0;
  const sparse = vectors.map((vector, i): TaskVector => {
    if (bands[i] === undefined) return vector;
    const [kept, outliers] = whole[i]?.[0] === undefined ? [selections[next++], selections[next++]] : (whole[i] ?? []);
    if (kept === undefined || outliers === undefined) throw new TypeError("a selection is missing");
    return { ...vector, delta: sub({ op: "trim", a: vector.delta, selection: kept }, { op: "trim", a: vector.delta, selection: outliers }) };
  });
  return flagOf(task, "rescale") ? restoreNorms(vectors, sparse, engine) : sparse;
};

const shared = {
  kind: "tensor",
  paper: { title: "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks", url: "https://arxiv.org/abs/2312.06795", year: 2023 },
  parameters: taskVectorParameters({ normalize: 0, rescale: 0 }, GAMMA, WHOLE_VECTOR),
  base: "required",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 3,
  statistic: bandOfAll,
} as const satisfies Partial<MergeMethod>;

export const breadcrumbs: MergeMethod = {
  ...shared,
  id: "breadcrumbs",
  title: "Model Breadcrumbs",
  summary: "Drops the smallest and the very largest elements of each difference and adds the rest to the base.",
  formula:
    "d_i = W_i - B without its gamma N largest elements, of the rest the density N largest\nR = B + lambda sum_i w_i d_i, the sum divided by sum_i w_i if normalize",
  merge: mergeTaskVectors(keepBand, "sum"),
};

export const breadcrumbsTies: MergeMethod = {
  ...shared,
  id: "breadcrumbs_ties",
  title: "Model Breadcrumbs with sign election",
  summary: "Drops the smallest and the very largest elements of each difference, elects a sign per element and adds what agrees.",
  formula:
    "d_i as breadcrumbs;  s = sign(sum_i w_i d_i);  m_i = [sign(w_i d_i) = s]\nR = B + lambda sum_i w_i d_i m_i, the sum divided by sum_i w_i m_i if normalize",
  merge: mergeTaskVectors(keepBand, "elect"),
};
