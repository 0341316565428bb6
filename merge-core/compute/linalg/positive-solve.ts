// S X = B for symmetric positive definite S, in float64 on all threads of a pool: a blocked Cholesky factorisation and two blocked
// substitutions, nearly all of which are matrix products. Diagonal blocks are inverted, so that panels are products too.
import { cut, withParts } from "../gemm.ts";
import type { ComputePool } from "../pool.ts";

const BLOCK = 128;
const SET = 0;
const SUBTRACT = 2;

/** A float64 matrix in the shared memory: address in bytes, strides in elements; swap them to transpose. */
interface View {
  readonly address: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

const part = ({ address, rowStride, columnStride }: View, row: number, column: number): View => ({
  address: address + (row * rowStride + column * columnStride) * 8,
  rowStride,
  columnStride,
});
const transposed = ({ address, rowStride, columnStride }: View): View => ({ address, rowStride: columnStride, columnStride: rowStride });
const rowMajor = (address: number, columns: number): View => ({ address, rowStride: columns, columnStride: 1 });

/** More parts than threads, so that one that is late does not hold up the rest, and triangles are shared evenly. */
const PARTS_PER_THREAD = 4;
const strides = (view: View): number[] => [view.address, view.rowStride, view.columnStride];

interface Product64 {
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

/** C = A B or C -= A B in float64; the result does not depend on threads. */
function multiply(pool: ComputePool, { rows, columns, depth, a, b, c, mode, lower = false }: Product64): void {
  if (rows === 0 || columns === 0) return;
  const alongRows = lower || rows >= columns;
  const ranges = cut(alongRows ? rows : columns, pool.threads * PARTS_PER_THREAD, 4);
  // The longest stripes of a triangle first.
  if (lower) ranges.reverse();
  const widest = alongRows ? columns : Math.max(...ranges.map(([from, to]) => to - from));
  withParts(pool, ranges.length, pool.context.kernel("gemm64ScratchBytes")(widest), (scratch) =>
    pool.runSync(
      "gemm64",
      ranges.map(([from, to], i) => {
        const area = lower ? [from, to, 0, to] : alongRows ? [from, to, 0, columns] : [0, rows, from, to];
        return [...area, depth, ...strides(a), ...strides(b), c.address, c.rowStride, mode, scratch(i)];
      }),
    ),
  );
}

/** The lower triangle of Y Y^T, Y [rows, columns]; parts of what lies above it are overwritten. */
export function gram64(pool: ComputePool, y: Float64Array, rows: number, columns: number, into: Float64Array): void {
  const a = rowMajor(y.byteOffset, columns);
  multiply(pool, { rows, columns: rows, depth: columns, a, b: transposed(a), c: rowMajor(into.byteOffset, rows), mode: SET, lower: true });
}

/**
 * Replaces B [size, columns] by the solution; the lower triangle of S is read, S is overwritten. All in the pool's memory.
 * @returns false, with B spoilt, if S is not positive definite
 */
export function solvePositive(pool: ComputePool, s: Float64Array, size: number, b: Float64Array, columns: number): boolean {
  const blocks = Math.ceil(size / BLOCK);
  const inverses = pool.arena.alloc(blocks * BLOCK * BLOCK * 8);
  const panel = pool.arena.alloc(Math.max(size, columns) * BLOCK * 8);
  try {
    if (!factor(pool, s, size, inverses, panel)) return false;
    substitute(pool, s, size, inverses, panel, b, columns);
    return true;
  } finally {
    pool.arena.free(inverses);
    pool.arena.free(panel);
  }
}

/** L in the lower triangle of S, the inverses of its diagonal blocks apart. */
function factor(pool: ComputePool, s: Float64Array, size: number, inverses: number, panel: number): boolean {
  const matrix = rowMajor(s.byteOffset, size);
  for (let at = 0, block = 0; at < size; at += BLOCK, block++) {
    const width = Math.min(BLOCK, size - at);
    const inverse = new Float64Array(pool.memory.buffer, inverses + block * BLOCK * BLOCK * 8, width * width);
    if (!factorDiagonal(s, size, at, width, inverse)) return false;
    const below = at + width;
    const rows = size - below;
    // L21 = S21 L11^-T, then S22 -= L21 L21^T.
    const solved = rowMajor(panel, width);
    const [a, b] = [part(matrix, below, at), transposed(rowMajor(inverse.byteOffset, width))];
    multiply(pool, { rows, columns: width, depth: width, a, b, c: solved, mode: SET });
    const values = new Float64Array(pool.memory.buffer, panel, rows * width);
    for (let i = 0; i < rows; i++) s.set(values.subarray(i * width, (i + 1) * width), (below + i) * size + at);
    const rest = part(matrix, below, below);
    multiply(pool, { rows, columns: rows, depth: width, a: solved, b: transposed(solved), c: rest, mode: SUBTRACT, lower: true });
  }
  return true;
}

/** Factors a diagonal block in place and inverts the factor. */
function factorDiagonal(s: Float64Array, size: number, at: number, width: number, inverse: Float64Array): boolean {
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
function substitute(pool: ComputePool, s: Float64Array, size: number, inverses: number, panel: number, b: Float64Array, columns: number): void {
  const [matrix, right] = [rowMajor(s.byteOffset, size), rowMajor(b.byteOffset, columns)];
  const solve = (at: number, first: number, depth: number, factors: View, transpose: boolean): void => {
    const rows = Math.min(BLOCK, size - at);
    const [here, solved] = [part(right, at, 0), rowMajor(panel, columns)];
    multiply(pool, { rows, columns, depth, a: factors, b: part(right, first, 0), c: here, mode: SUBTRACT });
    const inverse = rowMajor(inverses + (at / BLOCK) * BLOCK * BLOCK * 8, rows);
    multiply(pool, { rows, columns, depth: rows, a: transpose ? transposed(inverse) : inverse, b: here, c: solved, mode: SET });
    b.set(new Float64Array(pool.memory.buffer, panel, rows * columns), at * columns);
  };
  for (let at = 0; at < size; at += BLOCK) solve(at, 0, at, part(matrix, at, 0), false);
  for (let at = Math.floor((size - 1) / BLOCK) * BLOCK; at >= 0; at -= BLOCK) {
    const next = Math.min(size, at + BLOCK);
    solve(at, next, size - next, transposed(part(matrix, next, at)), true);
  }
}
