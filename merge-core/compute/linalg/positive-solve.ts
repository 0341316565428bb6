// S X = B for symmetric positive definite S, in float64 or float32 on all threads of a pool: a blocked Cholesky factorisation and two blocked
// substitutions, nearly all of which are matrix products. Diagonal blocks are inverted, so that panels are products too.
// Both are generators that stop after every block, so that a caller can let others run, or give up.
import { cut, withParts } from "../gemm.ts";
import type { ComputePool } from "../pool.ts";
import type { Reals } from "./matrix.ts";

const BLOCK = 128;
const SET = 0;
const SUBTRACT = 2;

/** What differs between the two precisions. */
interface Precision {
  readonly bytes: 4 | 8;
  readonly kernel: "gemm" | "gemm64";
  readonly scratch: "gemmScratchBytes" | "gemm64ScratchBytes";
  /** Columns that the kernel takes together. */
  readonly together: number;
  view(pool: ComputePool, address: number, length: number): Reals;
}

const SINGLE: Precision = {
  ...{ bytes: 4, kernel: "gemm", scratch: "gemmScratchBytes", together: 8 },
  view: (pool, address, length) => new Float32Array(pool.memory.buffer, address, length),
};
const DOUBLE: Precision = {
  ...{ bytes: 8, kernel: "gemm64", scratch: "gemm64ScratchBytes", together: 4 },
  view: (pool, address, length) => new Float64Array(pool.memory.buffer, address, length),
};

/** A matrix in the shared memory: address in bytes, strides in elements; swap them to transpose. */
interface View {
  readonly precision: Precision;
  readonly address: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

const part = ({ precision, address, rowStride, columnStride }: View, row: number, column: number): View => ({
  precision,
  address: address + (row * rowStride + column * columnStride) * precision.bytes,
  rowStride,
  columnStride,
});
const transposed = ({ rowStride, columnStride, ...rest }: View): View => ({ ...rest, rowStride: columnStride, columnStride: rowStride });
const rowMajor = (precision: Precision, address: number, columns: number): View => ({ precision, address, rowStride: columns, columnStride: 1 });

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
}

/** C = A B or C -= A B; the result does not depend on threads. */
function multiply(pool: ComputePool, { rows, columns, depth, a, b, c, mode, lower = false }: Product): void {
  if (rows === 0 || columns === 0) return;
  const { kernel, scratch: scratchBytes, together } = c.precision;
  const alongRows = lower || rows >= columns;
  const ranges = cut(alongRows ? rows : columns, pool.threads * PARTS_PER_THREAD, alongRows ? 4 : together);
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

/** The lower triangle of Y Y^T in float64, Y [rows, columns]; parts of what lies above it are overwritten. */
export function gram64(pool: ComputePool, y: Float64Array, rows: number, columns: number, into: Float64Array): void {
  const a = rowMajor(DOUBLE, y.byteOffset, columns);
  multiply(pool, { rows, columns: rows, depth: columns, a, b: transposed(a), c: rowMajor(DOUBLE, into.byteOffset, rows), mode: SET, lower: true });
}

/**
 * Replaces B [size, columns] by the solution; the lower triangle of S is read, S is overwritten. Both of one precision and in the pool's memory.
 * @returns false, with B spoilt, if S is not positive definite
 */
export function* solvePositive(pool: ComputePool, s: Reals, size: number, b: Reals, columns: number): Generator<void, boolean> {
  const precision = s instanceof Float64Array ? DOUBLE : SINGLE;
  const blocks = Math.ceil(size / BLOCK);
  const inverses = pool.arena.alloc(blocks * BLOCK * BLOCK * precision.bytes);
  const panel = pool.arena.alloc(Math.max(size, columns) * BLOCK * precision.bytes);
  const system: System = { pool, precision, s, size, inverses, panel };
  try {
    if (!(yield* factor(system))) return false;
    yield* substitute(system, b, columns);
    return true;
  } finally {
    pool.arena.free(inverses);
    pool.arena.free(panel);
  }
}

interface System {
  readonly pool: ComputePool;
  readonly precision: Precision;
  readonly s: Reals;
  readonly size: number;
  /** Addresses of the diagonal blocks' inverses, and of room for a block column or row. */
  readonly inverses: number;
  readonly panel: number;
}

const inverseAt = ({ inverses, precision }: System, at: number): number => inverses + at * BLOCK * precision.bytes;

/** L in the lower triangle of S, the inverses of its diagonal blocks apart. */
function* factor(system: System): Generator<void, boolean> {
  const { pool, precision, s, size, panel } = system;
  const matrix = rowMajor(precision, s.byteOffset, size);
  for (let at = 0; at < size; at += BLOCK) {
    const width = Math.min(BLOCK, size - at);
    const inverse = precision.view(pool, inverseAt(system, at), width * width);
    if (!factorDiagonal(s, size, at, width, inverse)) return false;
    const below = at + width;
    const rows = size - below;
    // L21 = S21 L11^-T, then S22 -= L21 L21^T.
    const solved = rowMajor(precision, panel, width);
    const [a, b] = [part(matrix, below, at), transposed(rowMajor(precision, inverse.byteOffset, width))];
    multiply(pool, { rows, columns: width, depth: width, a, b, c: solved, mode: SET });
    const values = precision.view(pool, panel, rows * width);
    for (let i = 0; i < rows; i++) s.set(values.subarray(i * width, (i + 1) * width), (below + i) * size + at);
    const rest = part(matrix, below, below);
    multiply(pool, { rows, columns: rows, depth: width, a: solved, b: transposed(solved), c: rest, mode: SUBTRACT, lower: true });
    yield;
  }
  return true;
}

/** Factors a diagonal block in place and inverts the factor. */
function factorDiagonal(s: Reals, size: number, at: number, width: number, inverse: Reals): boolean {
  const place = (i: number, j: number): number => (at + i) * size + at + j;
  inverse.fill(0);
  for (let i = 0; i < width; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = s[place(i, j)] as number;
      for (let k = 0; k < j; k++) sum -= (s[place(i, k)] as number) * (s[place(j, k)] as number);
      if (i === j && !(sum > 0)) return false;
      s[place(i, j)] = i === j ? Math.sqrt(sum) : sum / (s[place(j, j)] as number);
    }
    const pivot = s[place(i, i)] as number;
    for (let j = 0; j < i; j++) {
      let sum = 0;
      for (let k = j; k < i; k++) sum += (s[place(i, k)] as number) * (inverse[k * width + j] as number);
      inverse[i * width + j] = -sum / pivot;
    }
    inverse[i * width + i] = 1 / pivot;
  }
  return true;
}

/** B <- L^-T L^-1 B, block row by block row: what is solved is taken out of the next, which its diagonal block then solves. */
function* substitute(system: System, b: Reals, columns: number): Generator<void, void> {
  const { pool, precision, s, size, panel } = system;
  const [matrix, right] = [rowMajor(precision, s.byteOffset, size), rowMajor(precision, b.byteOffset, columns)];
  const solve = (at: number, first: number, depth: number, factors: View, transpose: boolean): void => {
    const rows = Math.min(BLOCK, size - at);
    const [here, solved] = [part(right, at, 0), rowMajor(precision, panel, columns)];
    multiply(pool, { rows, columns, depth, a: factors, b: part(right, first, 0), c: here, mode: SUBTRACT });
    const inverse = rowMajor(precision, inverseAt(system, at), rows);
    multiply(pool, { rows, columns, depth: rows, a: transpose ? transposed(inverse) : inverse, b: here, c: solved, mode: SET });
    b.set(precision.view(pool, panel, rows * columns), at * columns);
  };
  for (let at = 0; at < size; at += BLOCK, yield) solve(at, 0, at, part(matrix, at, 0), false);
  for (let at = Math.floor((size - 1) / BLOCK) * BLOCK; at >= 0; at -= BLOCK, yield) {
    const next = Math.min(size, at + BLOCK);
    solve(at, next, size - next, transposed(part(matrix, next, at)), true);
  }
}
