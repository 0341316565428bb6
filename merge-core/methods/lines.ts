// Statistics of single rows and columns of a tensor, read a block of rows at a time.
import type { TensorEngine } from "../compute/engine.ts";
import type { Expr } from "../compute/expr.ts";
import type { Gram } from "./gram.ts";

/** Elements of one block of rows; longer rows are read one by one. */
const BLOCK_ELEMENTS = 1 << 20;

export type Axis = "row" | "column";

/** Rows end with the last dimension; a vector is one row. */
export function lineCounts({ shape, size }: TensorEngine): { rows: number; columns: number } {
  const columns = shape.at(-1) ?? 1;
  return { rows: columns === 0 ? 0 : size / columns, columns };
}

/** Calls `visit` with the same rows of every formula, block after block; `first` is the number of the block's first row. */
export async function eachRowBlock(engine: TensorEngine, xs: readonly Expr[], visit: (blocks: readonly Float32Array[], first: number) => void): Promise<void> {
  const { rows, columns } = lineCounts(engine);
  const step = Math.max(1, Math.floor(BLOCK_ELEMENTS / columns));
  for (let first = 0; first < rows; first += step) {
    const end = Math.min(rows, first + step);
    const blocks: Float32Array[] = [];
    for (const x of xs) blocks.push(await engine.values(x, first * columns, end * columns));
    visit(blocks, first);
  }
}

/** Inner products of all pairs of vectors, for each row or each column of its own. Sums in float64, in index order. */
export async function lineGrams(engine: TensorEngine, xs: readonly Expr[], axis: Axis): Promise<Gram[]> {
  const { rows, columns } = lineCounts(engine);
  const lines = axis === "row" ? rows : columns;
  const sums = xs.map((_, i) => xs.map((_, j) => (j < i ? undefined : new Float64Array(lines))));
  await eachRowBlock(engine, xs, (blocks, first) => {
    for (const [i, a] of blocks.entries())
      for (const [j, b] of blocks.entries()) {
        const sum = sums[i]?.[j];
        if (sum !== undefined) addProducts(sum, a, b, { axis, first, columns });
      }
  });
  const at = (i: number, j: number, line: number): number => sums[Math.min(i, j)]?.[Math.max(i, j)]?.[line] ?? 0;
  return Array.from({ length: lines }, (_, line) => xs.map((_, i) => xs.map((_, j) => at(i, j, line))));
}

function addProducts(sum: Float64Array, a: Float32Array, b: Float32Array, { axis, first, columns }: { axis: Axis; first: number; columns: number }): void {
  for (let start = 0, row = first; start < a.length; start += columns, row++)
    for (let k = 0; k < columns; k++) {
      const line = axis === "row" ? row : k;
      sum[line] = (sum[line] as number) + (a[start + k] as number) * (b[start + k] as number);
    }
}
