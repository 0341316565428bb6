// The few operations in which adapter families say what they make of a weight. Families are written once, in whatever
// tensors an algebra has: folding evaluates them in float64 (algebra/float64.ts), training in an autograd library.

export interface Algebra<T> {
  shapeOf(x: T): readonly number[];
  constant(values: ArrayLike<number>, shape: readonly number[]): T;
  /** The numbers as they are now; no gradient flows through them. */
  valuesOf(x: T): ArrayLike<number>;
  /** Products of the last two dimensions; leading ones are the same on both sides. */
  matMul(a: T, b: T, options?: { readonly transposeA?: boolean; readonly transposeB?: boolean }): T;
  /** Element by element; dimensions of size one are repeated, missing leading ones too. */
  add(x: T, y: T): T;
  sub(x: T, y: T): T;
  mul(x: T, y: T): T;
  div(x: T, y: T): T;
  scale(x: T, factor: number): T;
  sqrt(x: T): T;
  sigmoid(x: T): T;
  tanh(x: T): T;
  relu(x: T): T;
  /** Over the last dimension. */
  softmax(x: T): T;
  /** Sum over one dimension, which stays with size one. */
  sum(x: T, axis: number): T;
  reshape(x: T, shape: readonly number[]): T;
  transpose(x: T, order: readonly number[]): T;
  concat(parts: readonly T[], axis: number): T;
  /** Rows of x [n, ...], by number; the gradient adds up rows that were taken more than once. */
  rows(x: T, indices: ArrayLike<number>): T;
  /** A vector of zeros of `size` to which values [n] are added at `places`. */
  scatter(values: T, places: ArrayLike<number>, size: number): T;
  /** Inverses of the matrices in the last two dimensions. */
  inverse(x: T): T;
  /** The same numbers, as if they were constant. */
  detach(x: T): T;
}

/** x [..., r, c] with its last two dimensions exchanged. */
export function transposed<T>(m: Algebra<T>, x: T): T {
  const rank = m.shapeOf(x).length;
  return m.transpose(x, [...Array.from({ length: rank - 2 }, (_, i) => i), rank - 1, rank - 2]);
}

/** The identity matrix of n rows. */
export const identity = <T>(m: Algebra<T>, n: number): T =>
  m.constant(
    Float64Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? 1 : 0)),
    [n, n],
  );

/** x [..., n] with vectors of length one along the dimension. */
export const normalised = <T>(m: Algebra<T>, x: T, axis: number): T => m.div(x, m.sqrt(m.sum(m.mul(x, x), axis)));

/** GELU in the form with tanh (Hendrycks and Gimpel, 2016). */
export function gelu<T>(m: Algebra<T>, x: T): T {
  const inner = m.scale(m.add(x, m.scale(m.mul(x, m.mul(x, x)), 0.044715)), Math.sqrt(2 / Math.PI));
  return m.scale(m.mul(x, m.add(m.tanh(inner), m.constant([1], [1]))), 0.5);
}

/** kron(x, y) of two matrices. */
export function kronecker<T>(m: Algebra<T>, x: T, y: T): T {
  const [[a = 0, c = 0], [b = 0, d = 0]] = [m.shapeOf(x), m.shapeOf(y)];
  return m.reshape(m.mul(m.reshape(x, [a, 1, c, 1]), m.reshape(y, [1, b, 1, d])), [a * b, c * d]);
}

/** Skew matrices [n, b, b] from their entries above the diagonal [n, b (b - 1) / 2], row by row. */
export function skew<T>(m: Algebra<T>, entries: T, b: number): T {
  const [n = 0, count = 0] = m.shapeOf(entries);
  const places: number[] = [];
  for (let k = 0; k < n; k++) for (let i = 0; i < b; i++) for (let j = i + 1; j < b; j++) places.push((k * b + i) * b + j);
  const upper = m.reshape(m.scatter(m.reshape(entries, [n * count]), places, n * b * b), [n, b, b]);
  return m.sub(upper, transposed(m, upper));
}

/** Cayley's rotations (I - Q)(I + Q)^-1 = 2 (I + Q)^-1 - I of skew Q [n, b, b]. */
export function cayley<T>(m: Algebra<T>, q: T): T {
  const unit = identity(m, m.shapeOf(q).at(-1) ?? 0);
  return m.sub(m.scale(m.inverse(m.add(q, unit)), 2), unit);
}

/** W [out, n b] with each row's n parts multiplied by R^T of their own block, R [n, b, b]. */
export function rotateBlocks<T>(m: Algebra<T>, weight: T, rotations: T): T {
  const [out = 0, inputs = 0] = m.shapeOf(weight);
  const [n = 0, b = 0] = m.shapeOf(rotations);
  const parts = m.transpose(m.reshape(weight, [out, n, b]), [1, 0, 2]);
  return m.reshape(m.transpose(m.matMul(parts, rotations, { transposeB: true }), [1, 0, 2]), [out, inputs]);
}
