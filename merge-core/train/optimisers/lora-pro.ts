// LoRA-Pro (Wang et al. 2024, 2407.18242): gradients of both factors of a LoRA, changed so that the step of their product comes nearest to the
// one that full fine-tuning would take. With plain gradient descent this is the paper's method; before another optimiser it is its gradient.
// The paper's form with AdamW takes the moments of the whole weight's gradient: loraProAdamW.
import { symmetricEigen } from "../../compute/linalg/symmetric-eigen.ts";

export interface FactorPair {
  readonly r: number;
  readonly inputs: number;
  readonly outputs: number;
  /** A [r, inputs] */
  readonly a: ArrayLike<number>;
  /** B [outputs, r] */
  readonly b: ArrayLike<number>;
  /** The change of the weight is scale * B A. */
  readonly scale: number;
}

/** Keeps inverses finite where B is still zero. */
const DAMPING = 1e-8;

/** Replaces the gradients of A and B in place. */
export function loraProGradients(pair: FactorPair, gradA: Float32Array, gradB: Float32Array): void {
  const { r, inputs, outputs, a, b } = pair;
  const { newA, newB, eigenA, eigenB } = nearestSteps(pair, gradA, gradB);
  // Of all pairs with the same effect the one nearest to the gradients: B^T B X + X A A^T = -(B^T B)^-1 g_A A^T / s^2.
  const right = timesTransposed(newA, a, r, inputs, r).map((x) => -x);
  const x = solveSylvester(eigenB, eigenA, right, r);
  const [moveA, moveB] = [multiply(x, a, r, r, inputs), multiply(b, x, outputs, r, r)];
  for (let i = 0; i < gradA.length; i++) gradA[i] = (newA[i] as number) + (moveA[i] as number);
  for (let i = 0; i < gradB.length; i++) gradB[i] = (newB[i] as number) - (moveB[i] as number);
}

/** Steps of the factors whose product moves nearest to the full gradient; one pair of many. */
function nearestSteps({ r, inputs, outputs, a, b, scale }: FactorPair, gradA: Numbers, gradB: Numbers) {
  const [eigenB, eigenA] = [symmetricEigen(gramOfColumns(b, outputs, r), r), symmetricEigen(gramOfRows(a, r, inputs), r)];
  const [inverseB, inverseA] = [inverse(eigenB, r), inverse(eigenA, r)];
  const share = 1 / scale ** 2;
  // a = (B^T B)^-1 g_A / s^2
  const newA = multiply(inverseB, gradA, r, r, inputs).map((x) => x * share);
  // b = (I - B (B^T B)^-1 B^T) g_B (A A^T)^-1 / s^2
  const within = multiply(b, multiply(inverseB, multiplyTransposed(b, gradB, outputs, r, r), r, r, r), outputs, r, r);
  const outside = Float64Array.from(gradB, (g, i) => share * (g - (within[i] as number)));
  return { newA, newB: multiply(outside, inverseA, outputs, r, r), eigenA, eigenB };
}

/** The gradient of the whole weight [outputs, inputs] as far as factors can follow it: s B a + s b A. */
export function equivalentGradient(pair: FactorPair, gradA: Numbers, gradB: Numbers): Float32Array {
  const { r, inputs, outputs, a, b, scale } = pair;
  const { newA, newB } = nearestSteps(pair, gradA, gradB);
  const [left, right] = [multiply(b, newA, outputs, r, inputs), multiply(newB, a, outputs, r, inputs)];
  return Float32Array.from(left, (x, i) => scale * (x + (right[i] as number)));
}

/** What a gradient of the whole weight [outputs, inputs] is for the factors: s B^T G and s G A^T. */
export function factorGradients({ r, inputs, outputs, a, b, scale }: FactorPair, full: Numbers): { gradA: Float32Array; gradB: Float32Array } {
  return {
    gradA: Float32Array.from(multiplyTransposed(b, full, outputs, r, inputs), (x) => scale * x),
    gradB: Float32Array.from(timesTransposed(full, a, outputs, inputs, r), (x) => scale * x),
  };
}

type Numbers = ArrayLike<number>;
type Eigen = ReturnType<typeof symmetricEigen>;

/** U (L + damping)^-1 U^T */
function inverse({ values, vectors }: Eigen, r: number): Float64Array {
  const out = new Float64Array(r * r);
  for (let k = 0; k < r; k++) {
    const factor = 1 / (Math.max(0, values[k] as number) + DAMPING);
    for (let i = 0; i < r; i++)
      for (let j = 0; j < r; j++) out[i * r + j] = (out[i * r + j] as number) + factor * (vectors[k * r + i] as number) * (vectors[k * r + j] as number);
  }
  return out;
}

/** X of (U L U^T) X + X (V M V^T) = C */
function solveSylvester(left: Eigen, right: Eigen, c: Numbers, r: number): Float64Array {
  const inside = timesTransposed(multiply(left.vectors, c, r, r, r), right.vectors, r, r, r);
  for (let i = 0; i < r; i++)
    for (let j = 0; j < r; j++) inside[i * r + j] = (inside[i * r + j] as number) / ((left.values[i] as number) + (right.values[j] as number) + DAMPING);
  return multiplyTransposed(left.vectors, multiply(inside, right.vectors, r, r, r), r, r, r);
}

const gramOfRows = (x: Numbers, rows: number, columns: number): Float64Array => timesTransposed(x, x, rows, columns, rows);
const gramOfColumns = (x: Numbers, rows: number, columns: number): Float64Array => multiplyTransposed(x, x, rows, columns, columns);

/** X [n, k] Y [k, m] */
function multiply(x: Numbers, y: Numbers, n: number, k: number, m: number): Float64Array {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++)
    for (let l = 0; l < k; l++) {
      const factor = x[i * k + l] as number;
      for (let j = 0; j < m; j++) out[i * m + j] = (out[i * m + j] as number) + factor * (y[l * m + j] as number);
    }
  return out;
}

/** X^T Y for X [k, n], Y [k, m] */
function multiplyTransposed(x: Numbers, y: Numbers, k: number, n: number, m: number): Float64Array {
  const out = new Float64Array(n * m);
  for (let l = 0; l < k; l++)
    for (let i = 0; i < n; i++) {
      const factor = x[l * n + i] as number;
      for (let j = 0; j < m; j++) out[i * m + j] = (out[i * m + j] as number) + factor * (y[l * m + j] as number);
    }
  return out;
}

/** X Y^T for X [n, k], Y [m, k] */
function timesTransposed(x: Numbers, y: Numbers, n: number, k: number, m: number): Float64Array {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < m; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += (x[i * k + l] as number) * (y[j * k + l] as number);
      out[i * m + j] = sum;
    }
  return out;
}
