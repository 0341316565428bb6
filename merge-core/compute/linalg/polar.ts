// The nearest matrix with orthonormal rows or columns (the U V^T of a singular value decomposition) without a decomposition: two steps
// of the dynamically weighted Halley iteration (Nakatsukasa, Bai and Gygi, 2010), which bring all singular values to the order
// of 1, and one odd polynomial of degree 13 that brings them to 1 within 4e-7. Only the first step is in float64: it alone must tell
// values from rounding whose squares differ by ten orders of magnitude. All matrices beside X are symmetric, and polynomials of
// the same one, so that their products cost half. Directions whose singular value is below a few millionths of the largest are
// taken for rounding and left out, so that the result is the partial isometry on the others.
import { randomKey, uniforms } from "../rng.ts";
import { copyOf, dot, frobenius, type Matrix, type MatrixSpace, productInSlices, type Reals, transposeOf } from "./matrix.ts";
import { inTurns, type Steps } from "./steps.ts";

export interface Polar {
  readonly factor: Matrix;
  /** Directions kept: the smaller side, unless the matrix has lower rank. */
  readonly rank: number;
  /** Sum of the singular values. */
  readonly nuclear: number;
}

/** The least singular value that the Halley steps are made for, relative to a bound of the largest that is at most a quarter too large. */
const LEAST_VALUE = 8e-6;
/** q of x q(1 - x^2), the best of its degree on [0.76, 1], which is what the Halley steps leave. In this variable no terms cancel. */
const FINISH = [1.00000037, 0.499916896, 0.37801343, 0.272196281, 0.52303866, -0.504926574, 1.19769014] as const;
/** Coefficients of x, x^3 and x^5. */
type Quintic = readonly [number, number, number];
/** Parts small values from large: s <- s (3 s^2 - 2 s^4). */
const DECIDE: Quintic = [0, 3, -2];
/** Newton-Schulz: towards 1. */
const POLISH: Quintic = [1.5, -0.5, 0];
const MAX_DECISIONS = 12;

/**
 * Polar factor of `a`; zero has rank 0 and the factor zero. `a` stays as it is.
 * @throws WeightsmithError `cancelled`
 */
export async function polarFactor(space: MatrixSpace, a: Matrix): Promise<Polar> {
  const scale = frobenius(a);
  if (!(scale > 0) || !Number.isFinite(scale)) return { factor: space.zeros(a.rows, a.columns), rank: 0, nuclear: 0 };
  const wide = a.rows <= a.columns;
  const x = wide ? copyOf(space, a) : transposeOf(space, a);
  const { result, rank } = foundBy(space, x, scale) ?? (await iterate(space, x, scale));
  const factor = wide ? result : transposeOf(space, result);
  if (!wide) space.free(result);
  return { factor, rank, nuclear: dot(factor.data, a.data) };
}

/** By an engine that keeps the whole iteration to itself. Takes x. */
function foundBy(space: MatrixSpace, x: Matrix, scale: number): { result: Matrix; rank: number } | undefined {
  const result = space.polar?.(x, scale);
  if (result === undefined) return undefined;
  space.free(x);
  return { result, rank: Math.round(dot(result.data, result.data)) };
}

/** By the kernels. Takes x. */
async function iterate(space: MatrixSpace, x: Matrix, scale: number): Promise<{ result: Matrix; rank: number }> {
  for (let i = 0; i < x.data.length; i++) x.data[i] = (x.data[i] as number) / scale;
  await approach(space, x);
  let result = await finish(space, x);
  for (let decision = 0; decision < MAX_DECISIONS && !isProjector(space, result); decision++) {
    result = await quintic(space, result, DECIDE);
    result = await quintic(space, result, POLISH);
  }
  return { result, rank: Math.round(dot(result.data, result.data)) };
}

const run = <T>(space: MatrixSpace, steps: Steps<T>): Promise<T> => inTurns(steps, space.pause);

/** Two Halley steps, in place: singular values from `LEAST_VALUE` of the largest on come to lie in [0.76, 1]. */
async function approach(space: MatrixSpace, x: Matrix): Promise<void> {
  const { rows, columns, data } = x;
  const [y, s] = [space.doubles(rows * columns), space.doubles(rows * rows)];
  y.set(data);
  await run(space, space.gramDoubles(y, rows, columns, s));
  const left = await halley(space, x, { y, s, bound: boundOf(s, rows), least: LEAST_VALUE });
  space.free({ data: y }, { data: s });
  const [copy, gram] = [copyOf(space, x), await run(space, space.gram(x))];
  await halley(space, x, { y: copy.data, s: gram.data, bound: 1, least: left });
  space.free(copy, gram);
}

interface Step {
  /** A copy of X, and the lower triangle of X X^T; both are overwritten. */
  readonly y: Reals;
  readonly s: Reals;
  /** Of the largest singular value. */
  readonly bound: number;
  /** The least of interest, relative to the bound. */
  readonly least: number;
}

/** X <- b/c X + (a - b/c) (I + c X X^T)^-1 X with the weights that suit the least singular value best. @returns what becomes of that */
async function halley(space: MatrixSpace, { rows, columns, data }: Matrix, { y, s, bound, least }: Step): Promise<number> {
  const { a, b, c } = weights(least);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= i; j++) s[i * rows + j] = (c / bound ** 2) * (s[i * rows + j] as number);
    s[i * rows + i] = 1 + (s[i * rows + i] as number);
  }
  if (!(await space.solvePositive(s, rows, y, columns))) throw new RangeError("the matrix holds NaN");
  const [kept, solved] = [b / c / bound, (a - b / c) / bound];
  for (let i = 0; i < data.length; i++) data[i] = kept * (data[i] as number) + solved * (y[i] as number);
  return (least * (a + b * least ** 2)) / (1 + c * least ** 2);
}

/** The weights that raise the least singular value most while none leaves (0, 1]. */
function weights(least: number): { a: number; b: number; c: number } {
  const square = least ** 2;
  const gamma = Math.cbrt((4 * (1 - square)) / square ** 2);
  const root = Math.sqrt(1 + gamma);
  const a = root + 0.5 * Math.sqrt(8 - 4 * gamma + (8 * (2 - square)) / (square * root));
  const b = (a - 1) ** 2 / 4;
  return { a, b, c: a + b - 1 };
}

const POWER_STEPS = 8;
/** Eight steps find two thirds of the largest eigenvalue or more. Were it less, the iteration would begin with values a little above 1, and bear that. */
const MARGIN = 1.5;

/** A bound of the root of the largest eigenvalue of S, of which the lower triangle is given: by powers, or by the norm where that is less. */
function boundOf(s: Float64Array, size: number): number {
  let vector = Float64Array.from(uniforms(randomKey(0, "largest value"), { model: 0, purpose: 0 }, 0, size), (x) => x - 0.5);
  let [sum, largest] = [0, 0];
  for (let step = 0; step < POWER_STEPS; step++) {
    const next = new Float64Array(size);
    sum = 0;
    for (let i = 0; i < size; i++) {
      let [inner, factor] = [0, vector[i] as number];
      for (let j = 0; j < i; j++) {
        const value = s[i * size + j] as number;
        sum += 2 * value * value;
        inner += value * (vector[j] as number);
        next[j] = (next[j] as number) + value * factor;
      }
      const diagonal = s[i * size + i] as number;
      sum += diagonal * diagonal;
      next[i] = inner + diagonal * factor;
    }
    largest = norm(next) / norm(vector);
    vector = next.map((x) => x / largest);
  }
  return Math.sqrt(Math.min(Math.sqrt(sum), MARGIN * largest));
}

const norm = (vector: Float64Array): number => Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));

/** X q(I - X X^T) of the polynomial `FINISH`, in five products (Paterson and Stockmeyer, 1973). Takes x. */
async function finish(space: MatrixSpace, x: Matrix): Promise<Matrix> {
  const e = await run(space, space.gram(x));
  for (let i = 0; i < e.data.length; i++) e.data[i] = -(e.data[i] as number);
  addToDiagonal(e, 1);
  const square = await run(space, space.gram(e));
  const cube = await run(space, space.symmetricProduct(e, square));
  // q = low + e^3 high, low in the place of e and high in that of its square.
  const [c0, c1, c2, c3, c4, c5, c6] = FINISH;
  for (let i = 0; i < e.data.length; i++) {
    const [first, second, third] = [e.data[i] as number, square.data[i] as number, cube.data[i] as number];
    e.data[i] = c1 * first + c2 * second;
    square.data[i] = c4 * first + c5 * second + c6 * third;
  }
  addToDiagonal(e, c0);
  addToDiagonal(square, c3);
  const q = await run(space, space.symmetricProduct(cube, square));
  for (let i = 0; i < e.data.length; i++) q.data[i] = (q.data[i] as number) + (e.data[i] as number);
  space.free(e, square, cube);
  return replaced(space, q, x);
}

/** X <- (linear I + cubic G + fifth G^2) X, G = X X^T. Takes x. */
async function quintic(space: MatrixSpace, x: Matrix, [linear, cubic, fifth]: Quintic): Promise<Matrix> {
  const gram = await run(space, space.gram(x));
  const square = await run(space, space.gram(gram));
  for (let i = 0; i < square.data.length; i++) square.data[i] = cubic * (gram.data[i] as number) + fifth * (square.data[i] as number);
  addToDiagonal(square, linear);
  space.free(gram);
  return replaced(space, square, x);
}

/** Q X in the place of both. */
async function replaced(space: MatrixSpace, q: Matrix, x: Matrix): Promise<Matrix> {
  const result = space.zeros(x.rows, x.columns);
  await productInSlices(space, q, x, result);
  space.free(q, x);
  return result;
}

function addToDiagonal({ rows, data }: Matrix, value: number): void {
  for (let i = 0; i < rows; i++) data[i * rows + i] = (data[i * rows + i] as number) + value;
}

const PROBES = 16;
/** Of the squared length of the probes, of which rounding changes less than a tenth of this. */
const UNDECIDED = 1e-11;

/** Whether all singular values are 0 or 1: then P = X X^T does the same once and twice, to random vectors too. */
function isProjector(space: MatrixSpace, x: Matrix): boolean {
  const probe = space.zeros(PROBES, x.rows);
  const random = uniforms(randomKey(0, "projector"), { model: 0, purpose: 0 }, 0, probe.data.length);
  for (let i = 0; i < random.length; i++) probe.data[i] = (random[i] as number) - 0.5;
  const length = dot(probe.data, probe.data);
  const projected = (rows: Matrix): Matrix => {
    const inner = space.product(rows, x);
    const outer = space.product(inner, x, { transposeB: true });
    space.free(inner, rows);
    return outer;
  };
  const once = projected(probe);
  const kept = once.data.slice();
  const twice = projected(once);
  const change = twice.data.reduce((sum, value, i) => sum + (value - (kept[i] as number)) ** 2, 0);
  space.free(twice);
  return change <= UNDECIDED * length;
}
