// Eigenvalues and eigenvectors of a symmetric matrix in float64: Householder tridiagonalisation, then the implicit QL
// iteration (Bowdler, Martin, Reinsch and Wilkinson, 1968, as in EISPACK's tred2 and tql2). O(n^3), a few milliseconds at 128.

import { atOnce, type Steps } from "./steps.ts";

export interface SymmetricEigen {
  /** Descending. */
  readonly values: Float64Array;
  /** Eigenvectors as rows, in the order of their values. */
  readonly vectors: Float64Array;
}

const MAX_ITERATIONS = 60;

/** Of a symmetric matrix [n, n]; only the lower triangle is read. */
export const symmetricEigen = (matrix: Float64Array, n: number): SymmetricEigen => atOnce(symmetricEigenSteps(matrix, n));

/** The same in steps: at a side of a thousand it takes seconds. */
export function* symmetricEigenSteps(matrix: Float64Array, n: number): Steps<SymmetricEigen> {
  const v = matrix.slice();
  const d = new Float64Array(n);
  const e = new Float64Array(n);
  yield* tridiagonalise(v, d, e, n);
  yield* diagonalise(v, d, e, n);
  const order = Array.from(d.keys()).sort((x, y) => (d[y] as number) - (d[x] as number) || x - y);
  const vectors = new Float64Array(n * n);
  for (const [row, column] of order.entries()) for (let i = 0; i < n; i++) vectors[row * n + i] = v[i * n + column] as number;
  return { values: Float64Array.from(order, (i) => d[i] as number), vectors };
}

/** Leaves the diagonal in d, what is beside it in e, and the product of the reflections in v. */
function* tridiagonalise(v: Float64Array, d: Float64Array, e: Float64Array, n: number): Steps<void> {
  for (let i = n - 1; i > 0; i--) {
    const row = i * n;
    let [scale, h] = [0, 0];
    for (let k = 0; k < i; k++) scale += Math.abs(v[row + k] as number);
    if (i === 1 || scale === 0) e[i] = v[row + i - 1] as number;
    else {
      for (let k = 0; k < i; k++) {
        v[row + k] = (v[row + k] as number) / scale;
        h += (v[row + k] as number) ** 2;
      }
      const f = v[row + i - 1] as number;
      const g = f > 0 ? -Math.sqrt(h) : Math.sqrt(h);
      e[i] = scale * g;
      h -= f * g;
      v[row + i - 1] = f - g;
      reflect(v, e, i, n, h);
    }
    d[i] = h;
    yield undefined;
  }
  d[0] = 0;
  e[0] = 0;
  yield* accumulate(v, d, n);
}

/** Applies the reflection of row i from both sides to the leading part. */
function reflect(v: Float64Array, e: Float64Array, i: number, n: number, h: number): void {
  const row = i * n;
  let sum = 0;
  for (let j = 0; j < i; j++) {
    v[j * n + i] = (v[row + j] as number) / h;
    let g = 0;
    for (let k = 0; k <= j; k++) g += (v[j * n + k] as number) * (v[row + k] as number);
    for (let k = j + 1; k < i; k++) g += (v[k * n + j] as number) * (v[row + k] as number);
    e[j] = g / h;
    sum += (e[j] as number) * (v[row + j] as number);
  }
  const half = sum / (h + h);
  for (let j = 0; j < i; j++) {
    const f = v[row + j] as number;
    const g = (e[j] as number) - half * f;
    e[j] = g;
    for (let k = 0; k <= j; k++) v[j * n + k] = (v[j * n + k] as number) - f * (e[k] as number) - g * (v[row + k] as number);
  }
}

function* accumulate(v: Float64Array, d: Float64Array, n: number): Steps<void> {
  for (let i = 0; i < n; i++) {
    const row = i * n;
    if (d[i] !== 0) {
      const sums = new Float64Array(i);
      for (let k = 0; k < i; k++) {
        const factor = v[row + k] as number;
        for (let j = 0; j < i; j++) sums[j] = (sums[j] as number) + factor * (v[k * n + j] as number);
      }
      for (let k = 0; k < i; k++) {
        const factor = v[k * n + i] as number;
        for (let j = 0; j < i; j++) v[k * n + j] = (v[k * n + j] as number) - (sums[j] as number) * factor;
      }
    }
    d[i] = v[row + i] as number;
    v[row + i] = 1;
    for (let j = 0; j < i; j++) {
      v[row + j] = 0;
      v[j * n + i] = 0;
    }
    yield undefined;
  }
}

function* diagonalise(v: Float64Array, d: Float64Array, e: Float64Array, n: number): Steps<void> {
  e.copyWithin(0, 1);
  if (n > 0) e[n - 1] = 0;
  // Columns are rotated in pairs; as rows of the transpose they lie together.
  const columns = transposed(v, n);
  for (let l = 0; l < n; l++) {
    for (let iteration = 0; ; iteration++) {
      let m = l;
      while (m < n - 1 && Math.abs(e[m] as number) > Number.EPSILON * (Math.abs(d[m] as number) + Math.abs(d[m + 1] as number))) m++;
      if (m === l) break;
      if (iteration === MAX_ITERATIONS) throw new Error("the eigenvalue iteration did not converge");
      step(columns, d, e, l, m, n);
      yield undefined;
    }
  }
  v.set(transposed(columns, n));
}

/** One implicit QL step on the part from l to m. */
function step(columns: Float64Array, d: Float64Array, e: Float64Array, l: number, m: number, n: number): void {
  const at = (x: Float64Array, i: number) => x[i] as number;
  let g = (at(d, l + 1) - at(d, l)) / (2 * at(e, l));
  let r = Math.hypot(g, 1);
  g = at(d, m) - at(d, l) + at(e, l) / (g + (g < 0 ? -r : r));
  let [s, c, p] = [1, 1, 0];
  for (let i = m - 1; i >= l; i--) {
    const f = s * at(e, i);
    const b = c * at(e, i);
    r = Math.hypot(f, g);
    e[i + 1] = r;
    if (r === 0) {
      d[i + 1] = at(d, i + 1) - p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = at(d, i + 1) - p;
    r = (at(d, i) - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    rotate(columns, i * n, n, c, s);
  }
  d[l] = at(d, l) - p;
  e[l] = g;
  e[m] = 0;
}

/** Turns a row and the one after it. */
function rotate(rows: Float64Array, first: number, n: number, c: number, s: number): void {
  for (let k = first; k < first + n; k++) {
    const x = rows[k] as number;
    const y = rows[k + n] as number;
    rows[k + n] = s * x + c * y;
    rows[k] = c * x - s * y;
  }
}

function transposed(v: Float64Array, n: number): Float64Array {
  const t = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) t[j * n + i] = v[i * n + j] as number;
  return t;
}
