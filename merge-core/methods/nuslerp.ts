// Spherical interpolation of two models by their weights, optionally of their differences from a base.
import { add, type Expr, input, linear, sub } from "../compute/expr.ts";
import { clampCosine, gramMatrix, normsOf } from "./gram.ts";
import type { MergeInput, MergeMethod, MergeTask } from "./method.ts";
import { WEIGHT, weightOf } from "./parameters.ts";

/** Vectors are taken to be at least this long. */
const SHORTEST = 1e-7;
/** Below this sine the arc is as good as its chord. */
const PARALLEL = 1e-8;
/** Weights that sum to less share equally. */
const NO_WEIGHT = 1e-6;

export const nuslerp: MergeMethod = {
  id: "nuslerp",
  title: "Spherical interpolation by weights",
  kind: "tensor",
  summary: "Interpolates between two models along the arc between them, or along that between their differences from a base.",
  formula:
    "x_i = W_i, or W_i - B with a base;  T = w_2 / (w_1 + w_2);  cos h = x_1.x_2 / |x_1||x_2|\nR = (sin((1-T)h) x_1 + sin(T h) x_2) / sin h, plus B with a base",
  paper: { title: "Animating rotation with quaternion curves", url: "https://doi.org/10.1145/325334.325242", year: 1985 },
  parameters: [WEIGHT],
  base: "optional",
  models: { min: 2, max: 2 },
  passes: 2,
  async merge({ base, others: [first, second] }, engine) {
    if (first === undefined || second === undefined) throw new TypeError("nuslerp needs two models");
    const vectors = [first, second].map((model) => vectorOf(model, base));
    const gram = await gramMatrix(engine, vectors);
    const [a, b] = arcWeights(normsOf(gram), gram[0]?.[1] ?? 0, position(weightOf(first), weightOf(second)));
    const mixed = linear(vectors.map((x, i) => ({ weight: i === 0 ? a : b, x })));
    return base === undefined ? mixed : add(input(base.index), mixed);
  },
};

function vectorOf(model: MergeInput, base: MergeTask["base"]): Expr {
  return base === undefined ? input(model.index) : sub(input(model.index), input(base.index));
}

const position = (first: number, second: number): number => (Math.abs(first + second) < NO_WEIGHT ? 0.5 : second / (first + second));

/** Coefficients of the two vectors at `t` of the way. */
export function arcWeights([normA = 0, normB = 0]: readonly number[], dot: number, t: number): [number, number] {
  const angle = Math.acos(clampCosine(dot / (Math.max(normA, SHORTEST) * Math.max(normB, SHORTEST))));
  const sine = Math.sin(angle);
  return Math.abs(sine) < PARALLEL ? [1 - t, t] : [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
}
