// Y = L Q with orthonormal rows in Q, of which only L is wanted: Householder reflections in float64, in blocks by their compact form
// (Schreiber and Van Loan, 1989), so that nearly all of the work is products. Accurate for any condition, dependent rows included.
import type { ComputePool } from "../pool.ts";
import { reflect, reflector } from "./householder.ts";
import type { Steps } from "./steps.ts";
import { DOUBLE, multiply, part, rowMajor, SET, SUBTRACT, transposed } from "./strided.ts";

/** Rows that are reflected together. */
const BLOCK = 32;

/** L in the lower triangle of Y [rows, columns], rows <= columns, in the pool's memory; what lies beyond means nothing. The threads' number changes nothing. */
export function* lowerFactor(pool: ComputePool, y: Float64Array, rows: number, columns: number): Steps<void> {
  const room = pool.arena.alloc((BLOCK * columns + BLOCK * BLOCK + 2 * rows * BLOCK) * 8);
  try {
    for (let at = 0; at < rows; at += BLOCK) {
      reflectBlock(pool, y, { rows, columns, at, count: Math.min(BLOCK, rows - at), room });
      yield undefined;
    }
  } finally {
    pool.arena.free(room);
  }
}

interface Block {
  readonly rows: number;
  readonly columns: number;
  /** The first row of the block, and how many it has. */
  readonly at: number;
  readonly count: number;
  /** Address of scratch memory. */
  readonly room: number;
}

/** Reflects the rows of a block one by one, then all rows below at once: Z <- Z - (Z V^T) T V. */
function reflectBlock(pool: ComputePool, y: Float64Array, { rows, columns, at, count, room }: Block): void {
  const [width, below] = [columns - at, rows - at - count];
  const view = (address: number, length: number): Float64Array => new Float64Array(pool.memory.buffer, address, length);
  const v = rowMajor(DOUBLE, room, width);
  const factors = reflectRows(y.subarray(at * columns), columns, at, view(room, count * width).fill(0), count);
  if (below === 0) return;
  const t = rowMajor(DOUBLE, room + BLOCK * columns * 8, count);
  const w = rowMajor(DOUBLE, t.address + BLOCK * BLOCK * 8, count);
  const wt = rowMajor(DOUBLE, w.address + rows * BLOCK * 8, count);
  const z = part(rowMajor(DOUBLE, y.byteOffset, columns), at + count, at);
  multiply(pool, { rows: count, columns: count, depth: width, a: v, b: transposed(v), c: t, mode: SET });
  compactForm(view(t.address, count * count), factors);
  multiply(pool, { rows: below, columns: count, depth: width, a: z, b: transposed(v), c: w, mode: SET });
  multiply(pool, { rows: below, columns: count, depth: count, a: w, b: t, c: wt, mode: SET });
  multiply(pool, { rows: below, columns: width, depth: count, a: wt, b: v, c: z, mode: SUBTRACT });
}

/** The rows of a block, of which the first `skipped` columns are done. Fills V [count, columns - skipped]. @returns factors of the reflections */
function reflectRows(block: Float64Array, columns: number, skipped: number, vectors: Float64Array, count: number): number[] {
  const width = columns - skipped;
  return Array.from({ length: count }, (_, i) => {
    const v = vectors.subarray(i * width + i, (i + 1) * width);
    const tail = (k: number): Float64Array => block.subarray(k * columns + skipped + i, (k + 1) * columns);
    v.set(tail(i));
    const { left, factor } = reflector(v);
    for (let k = i + 1; k < count; k++) reflect(tail(k), v, factor);
    tail(i)[0] = left;
    return factor;
  });
}

/** T of H_1 H_2 ... = I - V^T T V in the place of V V^T: upper triangular, the factors on its diagonal. */
function compactForm(t: Float64Array, factors: readonly number[]): void {
  const n = factors.length;
  for (const [i, factor] of factors.entries()) {
    for (let j = 0; j < i; j++) {
      let sum = 0;
      for (let k = j; k < i; k++) sum += (t[j * n + k] as number) * (t[k * n + i] as number);
      t[j * n + i] = -factor * sum;
      t[i * n + j] = 0;
    }
    t[i * n + i] = factor;
  }
}
