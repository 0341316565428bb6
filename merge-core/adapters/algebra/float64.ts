// The algebra of folding: plain arrays in float64. The specification of what training computes, and slow but exact enough
// that its finite differences check gradients.
import type { Algebra } from "./algebra.ts";

export interface Array64 {
  readonly shape: readonly number[];
  readonly values: Float64Array;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);
const array = (shape: readonly number[], values: Float64Array): Array64 => ({ shape, values });
const map = (x: Array64, f: (value: number) => number): Array64 => array(x.shape, x.values.map(f));

/** Elements between neighbours along each dimension. */
function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let d = shape.length - 2; d >= 0; d--) strides[d] = (strides[d + 1] as number) * (shape[d + 1] as number);
  return strides;
}

/** Calls `visit` with the places in several arrays, given by their strides, of each element of `shape` in order. */
function walk(shape: readonly number[], strides: readonly (readonly number[])[], visit: (at: number, places: readonly number[]) => void): void {
  const index = shape.map(() => 0);
  const places = strides.map(() => 0);
  const size = sizeOf(shape);
  for (let at = 0; at < size; at++) {
    visit(at, places);
    for (let d = shape.length - 1; d >= 0; d--) {
      index[d] = (index[d] as number) + 1;
      for (const [k, stride] of strides.entries()) places[k] = (places[k] as number) + (stride[d] as number);
      if ((index[d] as number) < (shape[d] as number)) break;
      for (const [k, stride] of strides.entries()) places[k] = (places[k] as number) - (shape[d] as number) * (stride[d] as number);
      index[d] = 0;
    }
  }
}

/** Strides of x seen in a larger shape: zero where it is repeated. */
function broadcastStrides(x: Array64, shape: readonly number[]): number[] {
  const missing = shape.length - x.shape.length;
  const strides = stridesOf(x.shape);
  return shape.map((n, d) => (d < missing || (x.shape[d - missing] === 1 && n !== 1) ? 0 : (strides[d - missing] as number)));
}

function combine(x: Array64, y: Array64, f: (a: number, b: number) => number): Array64 {
  const rank = Math.max(x.shape.length, y.shape.length);
  const side = (s: readonly number[], d: number) => s[d - rank + s.length] ?? 1;
  const shape = Array.from({ length: rank }, (_, d) => {
    const [a, b] = [side(x.shape, d), side(y.shape, d)];
    if (a !== b && a !== 1 && b !== 1) throw new RangeError(`[${x.shape}] and [${y.shape}] do not go together`);
    return a === 1 ? b : a;
  });
  const out = new Float64Array(sizeOf(shape));
  walk(shape, [broadcastStrides(x, shape), broadcastStrides(y, shape)], (at, [i = 0, j = 0]) => {
    out[at] = f(x.values[i] as number, y.values[j] as number);
  });
  return array(shape, out);
}

function matMul(a: Array64, b: Array64, { transposeA = false, transposeB = false } = {}): Array64 {
  const [rowsA = 0, columnsA = 0] = a.shape.slice(-2);
  const [rowsB = 0, columnsB = 0] = b.shape.slice(-2);
  const [rows, depth] = transposeA ? [columnsA, rowsA] : [rowsA, columnsA];
  const [depthB, columns] = transposeB ? [columnsB, rowsB] : [rowsB, columnsB];
  const outer = a.shape.slice(0, -2);
  if (depth !== depthB || outer.join() !== b.shape.slice(0, -2).join()) throw new RangeError(`[${a.shape}] times [${b.shape}]`);
  const out = new Float64Array(sizeOf(outer) * rows * columns);
  const [stepA, jumpA] = transposeA ? [1, columnsA] : [columnsA, 1];
  const [stepB, jumpB] = transposeB ? [1, columnsB] : [columnsB, 1];
  for (let batch = 0; batch < sizeOf(outer); batch++)
    for (let i = 0; i < rows; i++)
      for (let k = 0; k < depth; k++) {
        const factor = a.values[batch * rowsA * columnsA + i * stepA + k * jumpA] as number;
        const from = batch * rowsB * columnsB + k * stepB;
        const to = (batch * rows + i) * columns;
        if (factor !== 0) for (let j = 0; j < columns; j++) out[to + j] = (out[to + j] as number) + factor * (b.values[from + j * jumpB] as number);
      }
  return array([...outer, rows, columns], out);
}

function sum(x: Array64, axis: number): Array64 {
  const shape = x.shape.map((n, d) => (d === axis ? 1 : n));
  const out = new Float64Array(sizeOf(shape));
  const strides = stridesOf(shape).map((stride, d) => (d === axis ? 0 : stride));
  walk(x.shape, [strides], (at, [to = 0]) => {
    out[to] = (out[to] as number) + (x.values[at] as number);
  });
  return array(shape, out);
}

function transpose(x: Array64, order: readonly number[]): Array64 {
  const strides = stridesOf(x.shape);
  const shape = order.map((d) => x.shape[d] as number);
  const out = new Float64Array(x.values.length);
  walk(shape, [order.map((d) => strides[d] as number)], (at, [from = 0]) => {
    out[at] = x.values[from] as number;
  });
  return array(shape, out);
}

function concat(parts: readonly Array64[], axis: number): Array64 {
  const shape = (parts[0] as Array64).shape.map((n, d) => (d === axis ? parts.reduce((total, part) => total + (part.shape[d] as number), 0) : n));
  const out = new Float64Array(sizeOf(shape));
  const strides = stridesOf(shape);
  let first = 0;
  for (const part of parts) {
    const offset = first * (strides[axis] as number);
    walk(part.shape, [strides], (at, [to = 0]) => {
      out[offset + to] = part.values[at] as number;
    });
    first += part.shape[axis] as number;
  }
  return array(shape, out);
}

function rows(x: Array64, indices: ArrayLike<number>): Array64 {
  const width = x.values.length / (x.shape[0] as number);
  const out = new Float64Array(indices.length * width);
  for (let k = 0; k < indices.length; k++) out.set(x.values.subarray((indices[k] as number) * width, ((indices[k] as number) + 1) * width), k * width);
  return array([indices.length, ...x.shape.slice(1)], out);
}

function softmax(x: Array64): Array64 {
  const n = x.shape.at(-1) ?? 1;
  const out = new Float64Array(x.values.length);
  for (let first = 0; first < out.length; first += n) {
    const row = x.values.subarray(first, first + n);
    const largest = Math.max(...row);
    const powers = row.map((value) => Math.exp(value - largest));
    const total = powers.reduce((a, b) => a + b, 0);
    for (const [i, power] of powers.entries()) out[first + i] = power / total;
  }
  return array(x.shape, out);
}

/** By Gauss-Jordan elimination with exchange of rows, matrix after matrix. @throws RangeError if one is singular */
export function invertMatrices(values: ArrayLike<number>, n: number): Float64Array {
  const out = new Float64Array(values.length);
  for (let first = 0; first < values.length; first += n * n) {
    const left = Float64Array.from({ length: n * n }, (_, i) => values[first + i] as number);
    const right = out.subarray(first, first + n * n);
    for (let i = 0; i < n; i++) right[i * n + i] = 1;
    for (let column = 0; column < n; column++) eliminate(left, right, n, column);
  }
  return out;
}

function eliminate(left: Float64Array, right: Float64Array, n: number, column: number): void {
  let pivot = column;
  for (let row = column; row < n; row++) if (Math.abs(left[row * n + column] as number) > Math.abs(left[pivot * n + column] as number)) pivot = row;
  const divisor = left[pivot * n + column] as number;
  if (divisor === 0) throw new RangeError("a matrix without inverse");
  for (const m of [left, right])
    for (let j = 0; j < n; j++) {
      const [a, b] = [m[column * n + j] as number, m[pivot * n + j] as number];
      m[pivot * n + j] = a;
      m[column * n + j] = b / divisor;
    }
  for (let row = 0; row < n; row++) {
    const factor = row === column ? 0 : (left[row * n + column] as number);
    for (const m of [left, right]) for (let j = 0; j < n; j++) m[row * n + j] = (m[row * n + j] as number) - factor * (m[column * n + j] as number);
  }
}

export const float64: Algebra<Array64> = {
  shapeOf: ({ shape }) => shape,
  constant: (values, shape) => array(shape, Float64Array.from(values)),
  valuesOf: ({ values }) => values,
  matMul,
  add: (x, y) => combine(x, y, (a, b) => a + b),
  sub: (x, y) => combine(x, y, (a, b) => a - b),
  mul: (x, y) => combine(x, y, (a, b) => a * b),
  div: (x, y) => combine(x, y, (a, b) => a / b),
  scale: (x, factor) => map(x, (value) => factor * value),
  sqrt: (x) => map(x, Math.sqrt),
  sigmoid: (x) => map(x, (value) => 1 / (1 + Math.exp(-value))),
  tanh: (x) => map(x, Math.tanh),
  relu: (x) => map(x, (value) => Math.max(0, value)),
  softmax,
  sum,
  reshape: (x, shape) => array(shape, x.values),
  transpose,
  concat,
  rows,
  scatter(values, places, size) {
    const out = new Float64Array(size);
    for (let n = 0; n < places.length; n++) out[places[n] as number] = (out[places[n] as number] as number) + (values.values[n] as number);
    return array([size], out);
  },
  inverse: (x) => array(x.shape, invertMatrices(x.values, x.shape.at(-1) ?? 1)),
  detach: (x) => x,
};
