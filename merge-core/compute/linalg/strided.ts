// Products of strided parts of matrices in the pool's memory, in float64 or float32: what blocked factorisations are made of.
import { cut, withParts } from "../gemm.ts";
import type { ComputePool } from "../pool.ts";
import { type Reals, SLICE_WORK } from "./matrix.ts";
import type { Steps } from "./steps.ts";

/** What becomes of C, as the kernels number it. */
export const SET = 0;
export const SUBTRACT = 2;

/** What differs between the two precisions. */
export interface Precision {
  readonly bytes: 4 | 8;
  readonly kernel: "gemm" | "gemm64";
  readonly scratch: "gemmScratchBytes" | "gemm64ScratchBytes";
  /** Columns that the kernel takes together. */
  readonly together: number;
  view(pool: ComputePool, address: number, length: number): Reals;
}

export const SINGLE: Precision = {
  ...{ bytes: 4, kernel: "gemm", scratch: "gemmScratchBytes", together: 8 },
  view: (pool, address, length) => new Float32Array(pool.memory.buffer, address, length),
};
export const DOUBLE: Precision = {
  ...{ bytes: 8, kernel: "gemm64", scratch: "gemm64ScratchBytes", together: 4 },
  view: (pool, address, length) => new Float64Array(pool.memory.buffer, address, length),
};

/** A matrix in the shared memory: address in bytes, strides in elements; swap them to transpose. */
export interface View {
  readonly precision: Precision;
  readonly address: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

export const part = ({ precision, address, rowStride, columnStride }: View, row: number, column: number): View => ({
  precision,
  address: address + (row * rowStride + column * columnStride) * precision.bytes,
  rowStride,
  columnStride,
});
export const transposed = ({ rowStride, columnStride, ...rest }: View): View => ({ ...rest, rowStride: columnStride, columnStride: rowStride });
export const rowMajor = (precision: Precision, address: number, columns: number): View => ({ precision, address, rowStride: columns, columnStride: 1 });

/** Fewer multiplications are over before another thread would wake. */
const MIN_SHARED = 2 ** 19;
/** More parts than threads, so that one that is late does not hold up the rest, and triangles are shared evenly. */
const PARTS_PER_THREAD = 4;
const strides = (view: View): number[] => [view.address, view.rowStride, view.columnStride];

interface Product {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly a: View;
  readonly b: View;
  readonly c: View;
  readonly mode: typeof SET | typeof SUBTRACT;
  /** Only what a lower triangle needs, and a little more. */
  readonly lower?: boolean;
  /** The first row that is wanted; rows before it stay. */
  readonly first?: number;
}

/** C = A B or C -= A B; the result does not depend on threads. */
export function multiply(pool: ComputePool, { rows, columns, depth, a, b, c, mode, lower = false, first = 0 }: Product): void {
  if (rows === 0 || columns === 0) return;
  const { kernel, scratch: scratchBytes, together } = c.precision;
  const alongRows = lower || rows >= columns;
  const parts = (rows - first) * columns * depth < MIN_SHARED ? 1 : pool.threads * PARTS_PER_THREAD;
  const ranges = alongRows ? cut(rows - first, parts, 4).map(([from, to]): [number, number] => [first + from, first + to]) : cut(columns, parts, together);
  // The longest stripes of a triangle first.
  if (lower) ranges.reverse();
  const widest = alongRows ? columns : Math.max(...ranges.map(([from, to]) => to - from));
  withParts(pool, ranges.length, pool.context.kernel(scratchBytes)(widest), (scratch) =>
    pool.runSync(
      kernel,
      ranges.map(([from, to], i) => {
        const area = lower ? [from, to, 0, to] : alongRows ? [from, to, 0, columns] : [0, rows, from, to];
        return [...area, depth, ...strides(a), ...strides(b), c.address, c.rowStride, mode, scratch(i)];
      }),
    ),
  );
}

/** The lower triangle of Y Y^T in float64, Y [rows, columns], some of its rows at a time; parts of what lies above it are overwritten. */
export function* gram64(pool: ComputePool, y: Float64Array, rows: number, columns: number, into: Float64Array): Steps<void> {
  const [a, c] = [rowMajor(DOUBLE, y.byteOffset, columns), rowMajor(DOUBLE, into.byteOffset, rows)];
  // Each thread has half of what it would do in float32.
  const step = Math.ceil((SLICE_WORK * pool.threads) / 2 / Math.max(1, rows * columns));
  for (let from = 0; from < rows; from += step) {
    const to = Math.min(rows, from + step);
    multiply(pool, { rows: to, columns: to, depth: columns, a, b: transposed(a), c, mode: SET, lower: true, first: from });
    yield undefined;
  }
}

/** A B in float64, A [rows, depth] and B [depth, columns]. */
export function product64(pool: ComputePool, a: Float64Array, rows: number, depth: number, b: Float64Array, columns: number, into: Float64Array): void {
  const view = (data: Float64Array, width: number): View => rowMajor(DOUBLE, data.byteOffset, width);
  multiply(pool, { rows, columns, depth, a: view(a, depth), b: view(b, columns), c: view(into, columns), mode: SET });
}
