// S X = B for symmetric positive definite S, in float64 or float32 on all threads of a pool: a blocked Cholesky factorisation and two blocked
// substitutions, nearly all of which are matrix products. Diagonal blocks are inverted, so that panels are products too.
// Both are generators that stop after every block, so that a caller can let others run, or give up.
import type { ComputePool } from "../pool.ts";
import type { Reals } from "./matrix.ts";
import type { Steps } from "./steps.ts";
import { DOUBLE, multiply, type Precision, part, rowMajor, SET, SINGLE, SUBTRACT, transposed, type View } from "./strided.ts";

const BLOCK = 128;

/**
 * Replaces B [size, columns] by the solution; the lower triangle of S is read, S is overwritten. Both of one precision and in the pool's memory.
 * @returns false, with B spoilt, if S is not positive definite
 */
export function* solvePositive(pool: ComputePool, s: Reals, size: number, b: Reals, columns: number): Steps<boolean> {
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
function* factor(system: System): Steps<boolean> {
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
    yield undefined;
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
function* substitute(system: System, b: Reals, columns: number): Steps<void> {
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
  for (let at = 0; at < size; at += BLOCK, yield undefined) solve(at, 0, at, part(matrix, at, 0), false);
  for (let at = Math.floor((size - 1) / BLOCK) * BLOCK; at >= 0; at -= BLOCK, yield undefined) {
    const next = Math.min(size, at + BLOCK);
    solve(at, next, size - next, transposed(part(matrix, next, at)), true);
  }
}
