// Karcher (Riemannian) mean of directions on the sphere, at the mean length. All inputs count alike, the base among them.
// Every point on the way lies in the span of the inputs, so it is kept as coefficients and the data is read once.
import { input, linear } from "../compute/expr.ts";
import { clampCosine, dotOf, type Gram, gramMatrix, lengthOf, normsOf } from "./gram.ts";
import type { MergeMethod } from "./method.ts";
import { numberOf } from "./parameters.ts";

export const karcher: MergeMethod = {
  id: "karcher",
  title: "Karcher mean",
  kind: "tensor",
  summary: "Finds the direction with the smallest squared angles to all models' directions, and gives it their mean length.",
  formula: "u_i = W_i / |W_i|;  T = mean_i h_i / sin h_i (u_i - cos h_i u), cos h_i = u.u_i\nrepeat u = cos|T| u + sin|T| T / |T|;  R = u mean_i |W_i|",
  paper: { title: "Riemannian center of mass and mollifier smoothing", url: "https://doi.org/10.1002/cpa.3160300502", year: 1977 },
  parameters: [
    { name: "max_iter", scope: "global", type: "integer", default: 10, range: { min: 0 }, doc: "Most steps taken." },
    {
      name: "tol",
      scope: "global",
      type: "number",
      default: 1e-5,
      range: { min: 0 },
      doc: "A step shorter than this is the last; shorter inputs have no direction.",
    },
  ],
  base: "optional",
  models: { min: 1, max: Number.POSITIVE_INFINITY },
  passes: 2,
  async merge(task, engine) {
    const vectors = task.inputs.map(({ index }) => input(index));
    const gram = await gramMatrix(engine, vectors);
    const factors = karcherMean(gram, numberOf(task, "max_iter"), numberOf(task, "tol"));
    return linear(vectors.map((x, i) => ({ weight: factors[i] ?? 0, x })));
  },
};

/** Coefficients of the vectors in their mean. */
function karcherMean(gram: Gram, maxSteps: number, tolerance: number): number[] {
  const norms = normsOf(gram);
  const units = norms.flatMap((norm, i) => (norm > tolerance ? [norms.map((_, j) => (i === j ? 1 / norm : 0))] : []));
  const [first] = units;
  if (first === undefined) return norms.map(() => 0);
  const mean = sumOf(units.map((unit) => ({ factor: 1 / units.length, unit })));
  let u = lengthOf(gram, mean) < tolerance ? first : normalized(gram, mean);
  for (let step = 0; step < maxSteps; step++) {
    const next = karcherStep(gram, u, units, norms.length, tolerance);
    if (next === undefined) break;
    u = next;
  }
  const meanNorm = norms.reduce((sum, norm) => sum + norm, 0) / norms.length;
  return u.map((coefficient) => coefficient * meanNorm);
}

/** One step along the mean of the logarithms; undefined when it is shorter than the tolerance. */
function karcherStep(gram: Gram, u: readonly number[], units: readonly (readonly number[])[], total: number, tolerance: number): number[] | undefined {
  const terms = units.flatMap((unit) => {
    const cosine = clampCosine(dotOf(gram, u, unit));
    const angle = Math.acos(cosine);
    const factor = angle / Math.sin(angle) / total;
    return angle < tolerance
      ? []
      : [
          { factor, unit },
          { factor: -factor * cosine, unit: u },
        ];
  });
  const tangent = sumOf([{ factor: 0, unit: u }, ...terms]);
  const size = lengthOf(gram, tangent);
  if (!(size >= tolerance) || size === 0) return undefined;
  return normalized(
    gram,
    u.map((c, i) => Math.cos(size) * c + (Math.sin(size) / size) * (tangent[i] ?? 0)),
  );
}

function sumOf(terms: readonly { readonly factor: number; readonly unit: readonly number[] }[]): number[] {
  return (terms[0]?.unit ?? []).map((_, j) => terms.reduce((sum, { factor, unit }) => sum + factor * (unit[j] ?? 0), 0));
}

function normalized(gram: Gram, a: readonly number[]): number[] {
  const size = lengthOf(gram, a);
  return a.map((c) => c / size);
}
