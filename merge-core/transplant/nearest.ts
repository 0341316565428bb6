// A vector as a combination of the k rows of a matrix that are nearest to it.
import type { Matrix, MatrixSpace } from "../compute/linalg/matrix.ts";
import { symmetricEigen } from "../compute/linalg/symmetric-eigen.ts";
import type { Combination } from "./omp.ts";
import type { TransplantSettings } from "./settings.ts";

type How = Pick<TransplantSettings, "k" | "weights" | "cosine">;

/** @param targets [b, d] @param points [n, d]; `k` at most n */
export function nearestCombination(space: MatrixSpace, targets: Matrix, points: Matrix, { k, weights, cosine }: How): Combination {
  const { rows: count, columns: width } = targets;
  const found = { rows: new Int32Array(count * k), weights: new Float64Array(count * k) };
  const products = space.product(targets, points, { transposeB: true });
  const squares = Float64Array.from({ length: points.rows }, (_, i) => square(points.data, i * width, width));
  for (let b = 0; b < count; b++) {
    const own = square(targets.data, b * width, width);
    const distance = (i: number): number => {
      const product = products.data[b * points.rows + i] as number;
      return cosine ? 1 - product / Math.max(1e-6, Math.sqrt(own * (squares[i] as number))) : own + (squares[i] as number) - 2 * product;
    };
    const rows = smallest(points.rows, distance, k);
    found.rows.set(rows, b * k);
    const target = targets.data.subarray(b * width, (b + 1) * width);
    const near = rows.map((row) => points.data.subarray(row * width, (row + 1) * width));
    found.weights.set(weigh(target, near, weights, cosine), b * k);
  }
  space.free(products);
  return found;
}

function square(data: Float32Array, from: number, count: number): number {
  let sum = 0;
  for (let i = from; i < from + count; i++) sum += (data[i] as number) ** 2;
  return sum;
}

/** Indices of the k smallest values, in ascending order. */
function smallest(count: number, value: (i: number) => number, k: number): number[] {
  const kept: { i: number; v: number }[] = [];
  for (let i = 0; i < count; i++) {
    const v = value(i);
    if (kept.length === k && v >= (kept[k - 1]?.v as number)) continue;
    let at = kept.length;
    while (at > 0 && (kept[at - 1]?.v as number) > v) at--;
    kept.splice(at, 0, { i, v });
    if (kept.length > k) kept.pop();
  }
  return kept.map(({ i }) => i);
}

function weigh(target: Float32Array, near: readonly Float32Array[], scheme: How["weights"], cosine: boolean): Float64Array {
  if (scheme === "distance_proportional") {
    const raw = near.map((point) => (cosine ? cosineOf(target, point) : 1 / Math.max(1e-6, Math.sqrt(distanceSquare(target, point)))));
    const sum = Math.max(
      1e-6,
      raw.reduce((a, b) => a + b, 0),
    );
    return Float64Array.from(raw, (w) => w / sum);
  }
  const gram = near.map((a) => near.map((b) => dot(a, b)));
  const right = near.map((point) => dot(point, target));
  if (scheme === "least_squares") return leastNorm(gram, right);
  // Weights that add up to one: the sum is held by a Lagrange multiplier.
  const bordered = [...gram.map((row) => [...row, 1]), [...near.map(() => 1), 0]];
  return leastNorm(bordered, [...right, 1]).subarray(0, near.length);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

const cosineOf = (a: Float32Array, b: Float32Array): number => dot(a, b) / Math.max(1e-6, Math.sqrt(dot(a, a) * dot(b, b)));

function distanceSquare(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += ((a[i] as number) - (b[i] as number)) ** 2;
  return sum;
}

/** Eigenvalues below this share of the largest count as zero. */
const RANK = 1e-10;

/** The shortest solution of S x = b, in the least-squares sense where S is singular. */
function leastNorm(matrix: readonly (readonly number[])[], right: readonly number[]): Float64Array {
  const n = right.length;
  const { values, vectors } = symmetricEigen(Float64Array.from(matrix.flat()), n);
  const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const x = new Float64Array(n);
  for (let v = 0; v < n; v++) {
    if (Math.abs(values[v] as number) <= RANK * most) continue;
    let along = 0;
    for (let i = 0; i < n; i++) along += (vectors[v * n + i] as number) * (right[i] as number);
    for (let i = 0; i < n; i++) x[i]! += (along / (values[v] as number)) * (vectors[v * n + i] as number);
  }
  return x;
}
