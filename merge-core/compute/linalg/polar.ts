// The nearest matrix with orthonormal rows or columns (the U V^T of a singular value decomposition) without a decomposition: two steps
// of the dynamically weighted Halley iteration (Nakatsukasa, Bai and Gygi, 2010) in float64, which bring all singular values
// to the order of 1, and two polynomials of degree 5 in float32 that finish (as in The Polar Express: Amsel, Persson, Musco and
// Gower, 2025). Directions whose singular value is below about a hundred-thousandth of the largest are taken for rounding and left
// out, so that the result is the partial isometry on the others. The rows of the result are orthonormal to about 1e-5.
import { dot, frobenius, type Matrix, type MatrixSpace, transposeOf } from "./matrix.ts";

export interface Polar {
  readonly factor: Matrix;
  /** Directions kept: the smaller side, unless the matrix has lower rank. */
  readonly rank: number;
  /** Sum of the singular values. */
  readonly nuclear: number;
}

/** Of the bound of the largest, which for a flat spectrum is a few times as large as the largest. */
const LEAST_VALUE = 2e-6;
const HALLEY_STEPS = 2;
/** Coefficients of x, x^3 and x^5. */
type Quintic = readonly [number, number, number];
/** The best two for what the Halley steps leave, [0.686, 1]: to 1 within 0.004, then within 5e-8. */
const FINISH: readonly Quintic[] = [
  [2.26753646, -2.15198377, 0.888496085],
  [1.87501729, -1.25001921, 0.375001921],
];
/** Parts small values from large: s <- s (3 s^2 - 2 s^4). */
const DECIDE: Quintic = [0, 3, -2];
/** Newton-Schulz: towards 1. */
const POLISH: Quintic = [1.5, -0.5, 0];
/** How far the squares of the factor's singular values may be from 0 and 1, per direction. */
const UNDECIDED = 1e-5;
const MAX_DECISIONS = 12;

/** Polar factor of `a`; zero has rank 0 and the factor zero. `a` stays as it is. */
export function polarFactor(space: MatrixSpace, a: Matrix): Polar {
  const scale = frobenius(a);
  if (!(scale > 0) || !Number.isFinite(scale)) return { factor: space.zeros(a.rows, a.columns), rank: 0, nuclear: 0 };
  const wide = a.rows <= a.columns;
  const x = wide ? space.zeros(a.rows, a.columns) : transposeOf(space, a);
  if (wide) x.data.set(a.data);
  const { result, rank } = foundBy(space, x, scale) ?? iterate(space, x, scale);
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
function iterate(space: MatrixSpace, x: Matrix, scale: number): { result: Matrix; rank: number } {
  for (let i = 0; i < x.data.length; i++) x.data[i] = (x.data[i] as number) / scale;
  halley(space, x);
  const iteration = new Quintics(space, x);
  for (const quintic of FINISH) iteration.step(quintic);
  return iteration.decide();
}

/** X <- b/c X + (a - b/c) (I + c X X^T)^-1 X with the weights that suit the least singular value best; in place. */
function halley(space: MatrixSpace, x: Matrix): void {
  const { rows, columns, data } = x;
  const y = space.doubles(rows * columns);
  const s = space.doubles(rows * rows);
  let least = LEAST_VALUE;
  for (let step = 0; step < HALLEY_STEPS; step++) {
    y.set(data);
    space.gramDoubles(y, rows, columns, s);
    // The norm of X X^T bounds its largest eigenvalue, so that all singular values of X / bound are in (0, 1].
    const bound = step === 0 ? Math.sqrt(symmetricNorm(s, rows)) : 1;
    const { a, b, c } = weights(least);
    shift(s, rows, c / bound ** 2);
    if (!space.solvePositive(s, rows, y, columns)) throw new RangeError("the matrix holds NaN");
    const [kept, solved] = [b / c / bound, (a - b / c) / bound];
    for (let i = 0; i < data.length; i++) data[i] = kept * (data[i] as number) + solved * (y[i] as number);
    least = (least * (a + b * least ** 2)) / (1 + c * least ** 2);
  }
  space.free({ data: y }, { data: s });
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

/** Frobenius norm of a symmetric matrix from its lower triangle. */
function symmetricNorm(s: Float64Array, rows: number): number {
  let sum = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < i; j++) sum += 2 * (s[i * rows + j] as number) ** 2;
    sum += (s[i * rows + i] as number) ** 2;
  }
  return Math.sqrt(sum);
}

/** S <- I + factor S, the lower triangle. */
function shift(s: Float64Array, rows: number, factor: number): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= i; j++) s[i * rows + j] = factor * (s[i * rows + j] as number);
    s[i * rows + i] = 1 + (s[i * rows + i] as number);
  }
}

/** Odd polynomials of degree 5 of all singular values of X. */
class Quintics {
  readonly #space: MatrixSpace;
  readonly #gram: Matrix;
  readonly #square: Matrix;
  #x: Matrix;
  #next: Matrix;

  constructor(space: MatrixSpace, x: Matrix) {
    this.#space = space;
    this.#x = x;
    this.#next = space.zeros(x.rows, x.columns);
    this.#gram = space.gram(x);
    this.#square = space.zeros(x.rows, x.rows);
  }

  /** X <- (linear I + cubic G + fifth G^2) X, G = X X^T. */
  step([linear, cubic, fifth]: Quintic): void {
    this.#space.gram(this.#gram, this.#square);
    const { rows, data } = this.#square;
    const gram = this.#gram.data;
    for (let i = 0; i < data.length; i++) data[i] = cubic * (gram[i] as number) + fifth * (data[i] as number);
    for (let i = 0; i < rows; i++) data[i * rows + i] = (data[i * rows + i] as number) + linear;
    this.#space.product(this.#square, this.#x, { into: this.#next });
    [this.#x, this.#next] = [this.#next, this.#x];
    this.#space.gram(this.#x, this.#gram);
  }

  /** Moves singular values on the way to 0 or 1, whichever is nearer, and gives back all but the result. @returns X and how many are 1 */
  decide(): { result: Matrix; rank: number } {
    for (let decision = 0; ; decision++) {
      const squares = trace(this.#gram);
      const between = squares - dot(this.#gram.data, this.#gram.data);
      if (Math.abs(between) <= UNDECIDED * this.#x.rows || decision >= MAX_DECISIONS) {
        this.#space.free(this.#next, this.#gram, this.#square);
        return { result: this.#x, rank: Math.round(squares) };
      }
      this.step(DECIDE);
      this.step(POLISH);
    }
  }
}

function trace({ rows, data }: Matrix): number {
  let sum = 0;
  for (let i = 0; i < rows; i++) sum += data[i * rows + i] as number;
  return sum;
}
