// Sums of few rows out of many, and the largest element of each row, on all threads of a pool.
import { cut } from "../gemm.ts";
import type { ComputePool } from "../pool.ts";
import type { Matrix, RowSum } from "./matrix.ts";

/** Columns that a thread takes at a time: rows that many sums use stay in its caches. */
const COLUMNS = 1024;
const ENTRY_BYTES = 12;
const PAIR_BYTES = 8;
const PARTS_PER_THREAD = 4;

/** into += sum of weight * row, for each; all in the pool's memory and of one length. */
export function addWeightedRows(pool: ComputePool, sums: readonly RowSum[]): void {
  const columns = sums[0]?.into.length ?? 0;
  const pairs = sums.reduce((count, { rows }) => count + rows.length, 0);
  const table = pool.arena.alloc(sums.length * ENTRY_BYTES + pairs * PAIR_BYTES + 8);
  try {
    let list = table + Math.ceil((sums.length * ENTRY_BYTES) / 8) * 8;
    const entries = new Uint32Array(pool.memory.buffer, table, 3 * sums.length);
    for (const [i, { into, rows, weights }] of sums.entries()) {
      entries.set([into.byteOffset, list, rows.length], 3 * i);
      const addresses = new Uint32Array(pool.memory.buffer, list, 2 * rows.length);
      const factors = new Float32Array(pool.memory.buffer, list, 2 * rows.length);
      for (const [j, row] of rows.entries()) {
        addresses[2 * j] = row.byteOffset;
        factors[2 * j + 1] = weights[j] as number;
      }
      list += rows.length * PAIR_BYTES;
    }
    pool.runSync(
      "addWeightedRows",
      cut(columns, Math.ceil(columns / COLUMNS), 16).map(([from, to]) => [table, sums.length, from, to]),
    );
  } finally {
    pool.arena.free(table);
  }
}

/** The column of the largest magnitude of each row. */
export function largestInRows(pool: ComputePool, { rows, columns, data }: Matrix): Uint32Array {
  const place = pool.arena.alloc(Math.max(4, rows * 4));
  try {
    pool.runSync(
      "largestInRows",
      cut(rows, pool.threads * PARTS_PER_THREAD, 1).map(([from, to]) => [data.byteOffset, columns, from, to, place]),
    );
    return new Uint32Array(pool.memory.buffer, place, rows).slice();
  } finally {
    pool.arena.free(place);
  }
}
