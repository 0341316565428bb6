// Engines measured the same way: a product whose result is known, then a larger one against the clock.
import { gemm, matrix } from "../gemm.ts";
import { createPool } from "../pool.ts";
import { loadBlas } from "./blas.ts";

export const FIGURE_UNIT = "GFLOP/s";

const SIZE = 512;
const MEASURE_MS = 300;
const RIGHT = [7, 10, 15, 22];

/** Rate of the square of a 512 x 512 matrix. */
function rate(square: () => void): number {
  square();
  const start = performance.now();
  let runs = 0;
  do {
    square();
    runs++;
  } while (performance.now() - start < MEASURE_MS);
  return (2 * SIZE ** 3 * runs) / (performance.now() - start) / 1e6;
}

/** The built-in engine; undefined if its product is wrong. */
export async function measureCpu(threads: number): Promise<number | undefined> {
  const pool = createPool({ threads });
  const bytes = SIZE * SIZE * 4;
  const [a, c] = [pool.arena.alloc(bytes), pool.arena.alloc(bytes)];
  const values = (address: number, n: number) => new Float32Array(pool.memory.buffer, address, n);
  const square = (n: number) => gemm(pool, { rows: n, columns: n, depth: n, a: matrix(a, n, n), b: matrix(a, n, n), c: matrix(c, n, n) });
  try {
    values(a, 4).set([1, 2, 3, 4]);
    square(2);
    if (!RIGHT.every((expected, i) => values(c, 4)[i] === expected)) return undefined;
    values(a, SIZE * SIZE).fill(0.5);
    return rate(() => square(SIZE));
  } finally {
    await pool.close();
  }
}

/** The machine's BLAS, in this process: only call it where a crash does no harm. @throws Error if it cannot be had or is wrong */
export async function measureBlas(threads: number): Promise<{ version: string; device: string; figure: number }> {
  const blas = await loadBlas(threads);
  const square = (n: number, a: Float32Array, c: Float32Array) =>
    blas.sgemm({ rows: n, columns: n, depth: n, a, b: a, c, transposeA: false, transposeB: false, accumulate: false });
  const small = new Float32Array(4);
  square(2, Float32Array.of(1, 2, 3, 4), small);
  if (!RIGHT.every((expected, i) => Math.abs((small[i] as number) - expected) < 1e-4)) throw new Error(`wrong product: ${small.join(", ")}`);
  const [large, product] = [new Float32Array(SIZE * SIZE).fill(0.5), new Float32Array(SIZE * SIZE)];
  const lapack = blas.lapack === undefined ? "without LAPACK" : "with LAPACK";
  return { version: blas.name, device: `${threads} threads, ${lapack}`, figure: rate(() => square(SIZE, large, product)) };
}
