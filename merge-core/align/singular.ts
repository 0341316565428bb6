// How the singular vectors of two models line up, before and after a permutation (Ito et al. 2024, 2402.04051): a permutation cannot change
// singular values, so all that weight matching can do is turn the vectors of large ones towards each other.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { dot, firstRows, type Matrix, type MatrixSpace } from "../compute/linalg/matrix.ts";
import { type Svd, svd } from "../compute/linalg/svd.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { axisOrder, type Orders } from "./permute.ts";
import type { Symmetries } from "./symmetries.ts";

/** R of the paper for one threshold: vectors whose singular value is above `gamma` times the largest. */
export interface Aligned {
  readonly gamma: number;
  readonly before: number;
  readonly after: number;
}

export interface SingularReport {
  readonly total: readonly Aligned[];
  readonly tensors: readonly { readonly name: string; readonly vectors: readonly Aligned[] }[];
}

export interface SingularOptions {
  readonly space: MatrixSpace;
  readonly signal?: AbortSignal | undefined;
  readonly onTensor?: (done: number, total: number, name: string) => void;
}

interface Sums {
  before: number;
  after: number;
  count: number;
}

/**
 * The sum over pairs of kept vectors of (u_a . P u_b)(v_a . Q v_b), over the geometric mean of how many are kept on both sides, so that it is
 * between -1 and 1, and 1 for equal matrices. The total adds numerators and denominators over tensors.
 */
export async function singularAlignment(
  a: Checkpoint,
  b: Checkpoint,
  axes: Symmetries["axes"],
  orders: Orders,
  gammas: readonly number[],
  { space, signal, onTensor }: SingularOptions,
): Promise<SingularReport> {
  const matrices = [...axes].filter(([, { length }]) => length === 2);
  const totals = gammas.map((): Sums => ({ before: 0, after: 0, count: 0 }));
  const tensors: SingularReport["tensors"][number][] = [];
  const reader = new TensorReader();
  try {
    for (const [done, [name, sides]] of matrices.entries()) {
      throwIfCancelled(signal);
      onTensor?.(done, matrices.length, name);
      const left = await decompose(a, name, space, reader);
      const right = await decompose(b, name, space, reader);
      const moved = sides.map((axis) => axisOrder(axis, orders));
      const sums = gammas.map((gamma) => overlap(left, right, moved, gamma, space));
      for (const [i, sum] of sums.entries()) add(totals[i] as Sums, sum);
      tensors.push({ name, vectors: sums.map((sum, i) => ratio(sum, gammas[i] as number)) });
      space.free(left.left, left.right, right.left, right.right);
    }
  } finally {
    await reader.close();
  }
  return { total: totals.map((sum, i) => ratio(sum, gammas[i] as number)), tensors };
}

async function decompose(model: Checkpoint, name: string, space: MatrixSpace, reader: TensorReader): Promise<Svd> {
  const entry = model.tensors.get(name) as TensorEntry;
  const [rows = 0, columns = 0] = entry.shape;
  const matrix = space.zeros(rows, columns);
  matrix.data.set(await reader.read(entry));
  if (!matrix.data.every(Number.isFinite)) throw inputError("non-finite", `${name} holds NaN or infinite values`, { file: model.path });
  const found = await svd(space, matrix);
  space.free(matrix);
  return found;
}

const kept = ({ values }: Svd, gamma: number): number => values.filter((s) => s > gamma * (values[0] as number) && s > 0).length;

function overlap(a: Svd, b: Svd, [rowOrder, columnOrder]: readonly (Int32Array | undefined)[], gamma: number, space: MatrixSpace): Sums {
  const [m, n] = [kept(a, gamma), kept(b, gamma)];
  const cosines = (x: Matrix, y: Matrix, order?: Int32Array): Matrix => {
    const moved = order === undefined ? y : gathered(space, y, order);
    const table = space.product(firstRows(x, m), firstRows(moved, n), { transposeB: true });
    if (moved !== y) space.free(moved);
    return table;
  };
  const aligned = (rows?: Int32Array, columns?: Int32Array): number => {
    const [left, right] = [cosines(a.left, b.left, rows), cosines(a.right, b.right, columns)];
    const sum = dot(left.data, right.data);
    space.free(left, right);
    return sum;
  };
  return { before: aligned(), after: aligned(rowOrder, columnOrder), count: Math.sqrt(m * n) };
}

function gathered(space: MatrixSpace, { rows, columns, data }: Matrix, order: Int32Array): Matrix {
  const result = space.zeros(rows, columns);
  for (let i = 0; i < rows; i++) for (let k = 0; k < columns; k++) result.data[i * columns + k] = data[i * columns + (order[k] as number)] as number;
  return result;
}

function add(into: Sums, { before, after, count }: Sums): void {
  into.before += before;
  into.after += after;
  into.count += count;
}

const ratio = ({ before, after, count }: Sums, gamma: number): Aligned => ({ gamma, before: before / Math.max(count, 1), after: after / Math.max(count, 1) });
