// Spherical interpolation of two models by their weights, optionally of their differences from a base.
import type { TensorEngine } from "../compute/engine.ts";
import { add, type Expr, input, linear, mul, perColumn, perRow, sub } from "../compute/expr.ts";
import type { Axis } from "../compute/lines.ts";
import { clampCosine, type Gram, gramMatrix, normsOf } from "./gram.ts";
import { lineGrams } from "./lines.ts";
import type { MergeInput, MergeMethod, MergeTask } from "./method.ts";
import { flagOf, WEIGHT, weightOf } from "./parameters.ts";

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
  parameters: [
    WEIGHT,
    { name: "nuslerp_flatten", scope: "global", type: "flag", default: 1, doc: "Take each tensor as one vector; otherwise each of its rows is one." },
    {
      name: "nuslerp_row_wise",
      scope: "global",
      type: "flag",
      default: 0,
      doc: "Unless flattened, take each column as a vector (the name reads the other way round, for compatibility).",
    },
  ],
  base: "optional",
  models: { min: 2, max: 2 },
  passes: 2,
  sides: (_, { nuslerp_flatten }) => (nuslerp_flatten === 0 ? 2 : 0),
  async merge(task, engine) {
    const { base, others } = task;
    const [first, second] = others;
    if (first === undefined || second === undefined) throw new TypeError("nuslerp needs two models");
    const vectors = [first, second].map((model) => vectorOf(model, base));
    const t = position(weightOf(first), weightOf(second));
    // A vector has one direction, so its only column is the whole of it.
    const axis = flagOf(task, "nuslerp_row_wise") && task.shape.length > 1 ? "column" : "row";
    const mixed = flagOf(task, "nuslerp_flatten") ? await mixWhole(engine, vectors, t) : await mixLines(engine, vectors, t, axis);
    return base === undefined ? mixed : add(input(base.index), mixed);
  },
};

function vectorOf(model: MergeInput, base: MergeTask["base"]): Expr {
  return base === undefined ? input(model.index) : sub(input(model.index), input(base.index));
}

const position = (first: number, second: number): number => (Math.abs(first + second) < NO_WEIGHT ? 0.5 : second / (first + second));

async function mixWhole(engine: TensorEngine, vectors: readonly Expr[], t: number): Promise<Expr> {
  const factors = arcWeights(await gramMatrix(engine, vectors), t);
  return linear(vectors.map((x, i) => ({ weight: factors[i] ?? 0, x })));
}

/** Each row or column of its own. */
async function mixLines(engine: TensorEngine, vectors: readonly Expr[], t: number, axis: Axis): Promise<Expr> {
  const factors = (await lineGrams(engine, vectors, axis)).map((gram) => arcWeights(gram, t));
  const spread = axis === "row" ? perRow : perColumn;
  return linear(vectors.map((x, i) => ({ weight: 1, x: mul(spread(Float32Array.from(factors, (pair) => pair[i] ?? 0)), x) })));
}

/** Coefficients of the two vectors at `t` of the way. */
function arcWeights(gram: Gram, t: number): [number, number] {
  const [normA = 0, normB = 0] = normsOf(gram);
  const angle = Math.acos(clampCosine((gram[0]?.[1] ?? 0) / (Math.max(normA, SHORTEST) * Math.max(normB, SHORTEST))));
  const sine = Math.sin(angle);
  return Math.abs(sine) < PARALLEL ? [1 - t, t] : [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
}
