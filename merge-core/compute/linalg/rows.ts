// A few long float64 rows, and the two operations on them that take time: their inner products, and sums of them.
import type { ComputePool } from "../pool.ts";
import { gramOf } from "./gram.ts";

export interface Rows {
  /** X X^T [rows, rows]. */
  gram(): Float64Array;
  /** C X [count, n] of C [count, rows]. */
  sums(coefficients: Float64Array, count: number): Float64Array;
  free(): void;
}

/** Makes the rows of X [rows, n] ready. */
export type LoadRows = (x: Float64Array, rows: number, n: number) => Rows;

/** In plain TypeScript: the specification. */
export const plainRows: LoadRows = (x, rows, n) => ({
  gram: () => gramOf(x, rows, n),
  sums: (coefficients, count) => {
    const out = new Float64Array(count * n);
    for (let i = 0; i < count; i++)
      for (let j = 0; j < rows; j++) {
        const factor = coefficients[i * rows + j] as number;
        for (let k = 0; k < n; k++) out[i * n + k] = (out[i * n + k] as number) + factor * (x[j * n + k] as number);
      }
    return out;
  },
  free: () => {},
});

/** Rows that a thread takes at a time. */
const ROWS_PER_PART = 8;

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

/** On all threads of a pool; the result does not depend on their number. */
export function poolRows(pool: ComputePool): LoadRows {
  const view = (address: number, length: number) => new Float64Array(pool.memory.buffer, address, length);
  const parts = (count: number): [number, number][] =>
    Array.from({ length: Math.ceil(count / ROWS_PER_PART) }, (_, i) => [i * ROWS_PER_PART, Math.min(count, (i + 1) * ROWS_PER_PART)]);
  return (x, rows, n) => {
    const [height, stride] = [roundUp(rows, 4), roundUp(n, 2)];
    const place = pool.arena.alloc(height * stride * 8);
    const stored = view(place, height * stride).fill(0);
    for (let i = 0; i < rows; i++) stored.set(x.subarray(i * n, (i + 1) * n), i * stride);
    return {
      gram() {
        const result = pool.arena.alloc(height * height * 8);
        pool.runSync(
          "rowProducts",
          parts(height).map(([from, to]) => [place, height, stride, result, from, to]),
        );
        const lower = view(result, height * height);
        const out = new Float64Array(rows * rows);
        for (let i = 0; i < rows; i++) for (let j = 0; j <= i; j++) out[i * rows + j] = out[j * rows + i] = lower[i * height + j] as number;
        pool.arena.free(result);
        return out;
      },
      sums(coefficients, count) {
        const factors = pool.arena.alloc(count * height * 8);
        const result = pool.arena.alloc(count * stride * 8);
        const padded = view(factors, count * height).fill(0);
        for (let i = 0; i < count; i++) padded.set(coefficients.subarray(i * rows, (i + 1) * rows), i * height);
        pool.runSync(
          "rowSums",
          parts(count).map(([from, to]) => [factors, place, height, stride, result, from, to]),
        );
        const out = new Float64Array(count * n);
        for (let i = 0; i < count; i++) out.set(view(result + i * stride * 8, n), i * n);
        pool.arena.free(factors);
        pool.arena.free(result);
        return out;
      },
      free: () => pool.arena.free(place),
    };
  };
}
