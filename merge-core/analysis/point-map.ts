// Models as points on a plane, from the inner products of their changes alone: classical scaling (Torgerson 1952), which for
// Euclidean distances is the projection on the first two principal axes. Pure; pages import it.

export interface PointMap {
  /** By item, in the order of the Gram matrix. The first axis spreads them most. */
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Share of the items' spread that each of the two axes shows. */
  readonly shown: readonly [number, number];
}

/** @param gram inner products of all pairs of items, the origin being an item of its own if it is to be on the map */
export function mapPoints(gram: readonly (readonly number[])[]): PointMap {
  const { values, vectors } = eigenSymmetric(centre(gram));
  const order = values.map((_, i) => i).sort((a, b) => (values[b] ?? 0) - (values[a] ?? 0));
  const total = values.reduce((sum, value) => sum + Math.max(0, value), 0);
  const axes = [order[0], order[1]].map((axis) => axisOf(axis, values, vectors, gram.length));
  return {
    points: gram.map((_, i) => [axes[0]?.[i] ?? 0, axes[1]?.[i] ?? 0] as const),
    shown: [share(values[order[0] ?? -1], total), share(values[order[1] ?? -1], total)],
  };
}

const share = (value = 0, total: number): number => (total > 0 ? Math.max(0, value) / total : 0);

/** Coordinates on one axis; of its two directions the one in which the largest coordinate is positive, so that pictures repeat. */
function axisOf(axis: number | undefined, values: readonly number[], vectors: readonly (readonly number[])[], count: number): number[] {
  if (axis === undefined) return new Array<number>(count).fill(0);
  const length = Math.sqrt(Math.max(0, values[axis] ?? 0));
  const column = vectors.map((row) => (row[axis] ?? 0) * length);
  const largest = column.reduce((best, x) => (Math.abs(x) > Math.abs(best) + 1e-12 ? x : best), 0);
  return largest < 0 ? column.map((x) => -x) : column;
}

/** Inner products about the items' mean. */
function centre(gram: readonly (readonly number[])[]): number[][] {
  const mean = (row: readonly number[]) => row.reduce((sum, x) => sum + x, 0) / Math.max(1, row.length);
  const rows = gram.map(mean);
  const all = mean(rows);
  return gram.map((row, i) => row.map((x, j) => x - (rows[i] ?? 0) - (rows[j] ?? 0) + all));
}

const SWEEPS = 60;

/** Eigenvalues and, by column, unit eigenvectors of a small symmetric matrix, by Jacobi's rotations. The matrix is overwritten. */
export function eigenSymmetric(a: number[][]): { values: number[]; vectors: number[][] } {
  const n = a.length;
  const vectors = a.map((_, i) => a.map((__, j) => (i === j ? 1 : 0)));
  const size = Math.sqrt(a.flat().reduce((sum, x) => sum + x * x, 0));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let left = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) left = Math.max(left, Math.abs(a[p]?.[q] ?? 0));
    if (left <= 1e-15 * size) break;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, vectors, p, q);
  }
  return { values: a.map((row, i) => row[i] ?? 0), vectors };
}

function rotate(a: number[][], vectors: number[][], p: number, q: number): void {
  const off = a[p]?.[q] ?? 0;
  if (off === 0) return;
  const theta = ((a[q]?.[q] ?? 0) - (a[p]?.[p] ?? 0)) / (2 * off);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.hypot(t, 1);
  const turn = (row: number[]) => {
    const [x, y] = [row[p] ?? 0, row[q] ?? 0];
    row[p] = c * x - c * t * y;
    row[q] = c * t * x + c * y;
  };
  for (const row of a) turn(row);
  const [first = [], second = []] = [a[p], a[q]];
  first.forEach((x, k) => {
    const y = second[k] ?? 0;
    first[k] = c * x - c * t * y;
    second[k] = c * t * x + c * y;
  });
  for (const row of vectors) turn(row);
}
