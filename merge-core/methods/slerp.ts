// Spherical interpolation (Shoemake, SIGGRAPH 1985) of two tensors seen as vectors. The angle is that between their
// directions, the coefficients apply to the tensors themselves, as every merging tool does it.
import type { TensorEngine } from "../compute/engine.ts";
import { input, linear } from "../compute/expr.ts";
import type { MergeMethod } from "./method.ts";
import { numberOf } from "./parameters.ts";

/** Vectors shorter than this have no direction. */
const SHORTEST = 1e-8;
/** Above this cosine the arc is as good as its chord. */
const PARALLEL = 0.9995;

export const slerp: MergeMethod = {
  id: "slerp",
  title: "Spherical interpolation",
  kind: "tensor",
  summary: "Interpolates between two models along the arc between their directions.",
  formula: "cos h = A.B / |A||B|\nR = (sin((1-t)h) A + sin(t h) B) / sin h;  (1-t) A + t B where |cos h| > 0.9995",
  paper: { title: "Animating rotation with quaternion curves", url: "https://doi.org/10.1145/325334.325242", year: 1985 },
  parameters: [{ name: "t", scope: "global", type: "number", doc: "Position between the base (0) and the other model (1)." }],
  base: "one-of",
  models: { min: 1, max: 1 },
  passes: 2,
  async merge({ base, others: [other], parameters }, engine) {
    if (base === undefined || other === undefined) throw new TypeError("slerp needs a base and one other model");
    const [first, second] = slerpWeights(await cosine(engine, base.index, other.index), numberOf({ parameters }, "t"));
    return linear([
      { weight: first, x: input(base.index) },
      { weight: second, x: input(other.index) },
    ]);
  },
};

async function cosine(engine: TensorEngine, a: number, b: number): Promise<number> {
  const [squaresA = 0, squaresB = 0, dot = 0] = await engine.reduce([
    { op: "sumSquares", x: input(a) },
    { op: "sumSquares", x: input(b) },
    { op: "dot", x: input(a), y: input(b) },
  ]);
  return dot / (length(squaresA) * length(squaresB));
}

function length(sumOfSquares: number): number {
  const norm = Math.sqrt(sumOfSquares);
  return norm > SHORTEST ? norm : 1;
}

function slerpWeights(cos: number, t: number): [number, number] {
  if (Math.abs(cos) > PARALLEL) return [1 - t, t];
  const angle = Math.acos(cos);
  const sine = Math.sin(angle);
  return [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
}
