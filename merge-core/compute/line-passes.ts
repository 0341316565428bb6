// Statistics of rows and columns on the threads of a pool: formulas are worked out for a block of rows at a time, in the pool's memory,
// where kernels read them.
import type { Expr } from "./expr.ts";
import { cut } from "./gemm.ts";
import { type Axis, pairsOf } from "./lines.ts";
import type { ComputePool } from "./pool.ts";
import { BLOCK } from "./reference.ts";
import { type SideContext, sideRange } from "./side-values.ts";

export interface LineContext extends SideContext {
  /** What the tensor may use of the shared memory; blocks of rows take up to an eighth. */
  readonly memoryBytes: number;
}

/** Kernels read ahead. */
const AHEAD_BYTES = 64;
/** More parts than threads, so that one that is late does not hold up the rest. */
const PARTS_PER_THREAD = 4;
/** Fewer elements are over before another thread would wake. */
const MIN_SHARED = 1 << 14;

const partsOf = ({ threads }: ComputePool, lines: number, elements: number): [number, number][] =>
  cut(lines, elements < MIN_SHARED ? 1 : threads * PARTS_PER_THREAD, 4);

/** Inner products of all pairs of formulas (`pairsOf`), for each row or column. */
export async function productsOfLines(context: LineContext, xs: readonly Expr[], axis: Axis): Promise<Float64Array[]> {
  const { pool, columns } = context;
  const lines = axis === "row" ? rowsOf(context) : columns;
  const pairs = pairsOf(xs.length);
  return gathered(pool, pairs.length, lines, async (sums) => {
    await eachRowBlock(context, xs, ({ places, first, rows }) => {
      const at = (i: number): number => places[i] as number;
      const sharing = partsOf(pool, axis === "row" ? rows : columns, rows * columns * pairs.length);
      const calls = pairs.flatMap(([i, j], pair) =>
        sharing.map(([from, to]) =>
          axis === "row" ? [at(i), at(j), columns, from, to, sums(pair) + first * 8] : [at(i), at(j), rows, columns, from, to, sums(pair)],
        ),
      );
      pool.runSync(axis === "row" ? "rowDots" : "columnDots", calls);
    });
  });
}

/** Divergence of each row of `a` from that of `b`. */
export async function divergencesOfRows(context: LineContext, a: Expr, b: Expr): Promise<Float64Array> {
  const { pool, columns } = context;
  const [result] = await gathered(pool, 1, rowsOf(context), (sums) =>
    eachRowBlock(context, [a, b], ({ places: [p = 0, q = 0], first, rows }) =>
      pool.runSync(
        "rowDivergences",
        partsOf(pool, rows, rows * columns).map(([from, to]) => [p, q, columns, from, to, sums(0) + first * 8]),
      ),
    ),
  );
  return result as Float64Array;
}

const rowsOf = ({ columns, size }: LineContext): number => (columns === 0 ? 0 : size / columns);

/** Zeros for `count` values of each line in the pool's memory, copied out when they are filled. */
async function gathered(pool: ComputePool, count: number, lines: number, fill: (sums: (index: number) => number) => Promise<void>): Promise<Float64Array[]> {
  const start = pool.arena.alloc(Math.max(8, count * lines * 8));
  const sums = (index: number): number => start + index * lines * 8;
  const view = (index: number): Float64Array => new Float64Array(pool.memory.buffer, sums(index), lines);
  try {
    for (let i = 0; i < count; i++) view(i).fill(0);
    await fill(sums);
    return Array.from({ length: count }, (_, i) => view(i).slice());
  } finally {
    pool.arena.free(start);
  }
}

interface RowBlock {
  /** Where each formula's first element of the block lies. */
  readonly places: readonly number[];
  readonly first: number;
  readonly rows: number;
}

/** The same whole rows of every formula, block after block. */
async function eachRowBlock(context: LineContext, xs: readonly Expr[], visit: (block: RowBlock) => void): Promise<void> {
  const { pool, columns, memoryBytes, store } = context;
  const rows = rowsOf(context);
  const step = Math.max(1, Math.floor(sideRange(memoryBytes, xs.length) / Math.max(1, columns)));
  for (let first = 0; first < rows; first += step) {
    const [begin, end] = [first * columns, Math.min(rows, first + step) * columns];
    // Passes begin with whole blocks of elements.
    const start = begin - (begin % BLOCK);
    const addresses: number[] = [];
    try {
      for (const x of xs) {
        const address = pool.arena.alloc((end - start) * 4 + AHEAD_BYTES);
        addresses.push(address);
        await store(x, start, end, address);
      }
      visit({ places: addresses.map((address) => address + (begin - start) * 4), first, rows: (end - begin) / columns });
    } finally {
      for (const address of addresses) pool.arena.free(address);
    }
  }
}
