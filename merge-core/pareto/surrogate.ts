// Quadratic surrogates of MAP (Li et al. 2024, 2406.07529): a measure as link(quadratic in the coefficients). Fitted linearly
// behind the link, then to the measurements themselves by Levenberg and Marquardt's method.
import { leastSquares } from "./least-squares.ts";

export type Link = "identity" | "sigmoid" | "softplus";

export interface Surrogate {
  readonly link: Link;
  /** e, then b by coefficient, then a_ij in the order 00, 01, ..., 11, 12, ... */
  readonly coefficients: readonly number[];
}

/** Keeps the unknowns finite where there are fewer measurements than unknowns. */
const RIDGE = 1e-8;
/** Fractions are taken to be no nearer to 0 and 1 than this before they go behind the link. */
const EDGE = 1e-4;
const MAX_STEPS = 100;

const SIGMOID = (q: number): number => 1 / (1 + Math.exp(-q));
const LINKS: Readonly<Record<Link, { forward(q: number): number; inverse(y: number): number; slope(q: number): number }>> = {
  identity: { forward: (q) => q, inverse: (y) => y, slope: () => 1 },
  sigmoid: {
    forward: SIGMOID,
    inverse: (y) => {
      const p = Math.min(1 - EDGE, Math.max(EDGE, y));
      return Math.log(p / (1 - p));
    },
    slope: (q) => SIGMOID(q) * (1 - SIGMOID(q)),
  },
  softplus: {
    forward: (q) => (q > 30 ? q : Math.log1p(Math.exp(q))),
    inverse: (y) => (y > 30 ? y : Math.log(Math.expm1(Math.max(EDGE, y)))),
    slope: SIGMOID,
  },
};

/** Number of unknowns of a quadratic in `n` coefficients: (n + 1)(n + 2) / 2. */
export const quadraticSize = (n: number): number => ((n + 1) * (n + 2)) / 2;

function features(c: readonly number[]): number[] {
  return [1, ...c, ...c.flatMap((x, i) => c.slice(i).map((y) => x * y))];
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);

/** What the surrogate says at `c`. */
export function predict({ link, coefficients }: Surrogate, c: readonly number[]): number {
  return LINKS[link].forward(dot(features(c), coefficients));
}

/** Fits to `values` measured at `points`. */
export function fitSurrogate(points: readonly (readonly number[])[], values: readonly number[], link: Link): Surrogate {
  const rows = points.map(features);
  const { inverse } = LINKS[link];
  const ridge = new Array<number>(quadraticSize(points[0]?.length ?? 0)).fill(RIDGE);
  const start = leastSquares(rows, values.map(inverse), ridge);
  return { link, coefficients: link === "identity" ? start : refine(rows, values, start, link) };
}

/** Levenberg and Marquardt: steps of the linearised problem, damped more after each that does not help. */
function refine(rows: readonly (readonly number[])[], values: readonly number[], start: readonly number[], link: Link): number[] {
  const { forward, slope } = LINKS[link];
  const errorOf = (w: readonly number[]) => rows.reduce((sum, row, i) => sum + (forward(dot(row, w)) - (values[i] ?? 0)) ** 2, 0) + RIDGE * dot(w, w);
  let weights = [...start];
  let error = errorOf(weights);
  let damping = 1e-3;
  for (let step = 0; step < MAX_STEPS && damping < 1e9; step++) {
    const jacobian = rows.map((row) => row.map((x) => x * slope(dot(row, weights))));
    const residual = rows.map((row, i) => (values[i] ?? 0) - forward(dot(row, weights)));
    const move = leastSquares(
      jacobian,
      residual,
      weights.map(() => damping),
    );
    const next = weights.map((w, i) => w + (move[i] ?? 0));
    const nextError = errorOf(next);
    if (!(nextError < error)) {
      damping *= 4;
      continue;
    }
    const done = error - nextError < 1e-12 * (error + 1e-12);
    [weights, error, damping] = [next, nextError, Math.max(1e-12, damping / 4)];
    if (done) break;
  }
  return weights;
}

/** Root mean square of prediction minus measurement. */
export function surrogateError(surrogate: Surrogate, points: readonly (readonly number[])[], values: readonly number[]): number {
  return Math.sqrt(points.reduce((sum, c, i) => sum + (predict(surrogate, c) - (values[i] ?? Number.NaN)) ** 2, 0) / points.length);
}
