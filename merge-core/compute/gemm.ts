// C = A B in float32 on all threads. Work is cut over rows, columns or batch entries, never over the summed dimension:
// every element is the same sum in the same order whatever the number of threads. Where the pool's threads have a BLAS (pool.ts),
// that does all but the smallest products, cut in parts that hang on the shapes alone.
import type { ComputePool } from "./pool.ts";
import type { MatrixView, Product } from "./product.ts";
import { libraryParts } from "./providers/blas-parts.ts";

export { type MatrixView, matrix, type Product } from "./product.ts";

/** Below this many multiplications a part is not worth a thread's waking. */
const MIN_PART_WORK = 1 << 19;
/** More parts than threads, so that a thread that is late does not hold up the rest. */
const PARTS_PER_THREAD = 2;

/** Computes the product; blocks until done. @throws WeightsmithError `out-of-memory` if scratch memory cannot be had. */
export function gemm(pool: ComputePool, product: Product): void {
  const { rows, columns, batch = 1 } = product;
  if (rows === 0 || columns === 0 || batch === 0) return;
  const byLibrary = pool.blasOfThreads && libraryParts(product);
  if (byLibrary) {
    pool.runSync("blasGemm", byLibrary);
    return;
  }
  const work = rows * columns * product.depth * batch;
  const parts = pool.threads === 1 ? 1 : Math.max(1, Math.min(pool.threads * PARTS_PER_THREAD, Math.floor(work / MIN_PART_WORK)));
  if (batch === 1) splitOne(pool, product, parts);
  else splitBatch(pool, product, Math.min(parts, batch));
}

/** Rows of a stripe of a symmetric product: many enough to be worth packing the other factor for each. */
const STRIPE = 64;
/** Stripes differ in length, so that there are more of them than parts of other products. */
const STRIPES_PER_THREAD = 4;

export interface SymmetricProduct {
  readonly rows: number;
  readonly depth: number;
  readonly a: MatrixView;
  readonly b: MatrixView;
  /** Address of [rows, rows], row by row. */
  readonly c: number;
}

/**
 * The lower triangle of C = A B, which must be symmetric, or what of it lies in the rows from `first` to `end`; parts of what lies above it are
 * overwritten. Blocks until done.
 */
export function gemmSymmetric(pool: ComputePool, { rows, depth, a, b, c }: SymmetricProduct, first = 0, end = rows): void {
  const count = end - first;
  if (count === 0) return;
  const parts = count * rows * depth < MIN_PART_WORK ? 1 : Math.min(Math.ceil(count / STRIPE), pool.threads * STRIPES_PER_THREAD);
  // The longest stripes first, so that none is left over in the end.
  const stripes = cut(count, parts, 4)
    .map(([from, to]) => [first + from, first + to] as const)
    .reverse();
  withScratch(pool, stripes.length, rows, (scratch) =>
    pool.runSync(
      "gemm",
      stripes.map(([from, to], i) => [from, to, 0, to, depth, ...operands(a, b), c, rows, 0, scratch(i)]),
    ),
  );
}

function splitOne(pool: ComputePool, product: Product, parts: number): void {
  const { rows, columns, depth, a, b, c } = product;
  const alongRows = rows >= columns;
  const ranges = cut(alongRows ? rows : columns, parts, alongRows ? 4 : 8);
  withScratch(pool, ranges.length, alongRows ? columns : widest(ranges), (scratch) =>
    pool.runSync(
      "gemm",
      ranges.map(([from, to], i) => {
        const area = alongRows ? [from, to, 0, columns] : [0, rows, from, to];
        return [...area, depth, ...operands(a, b), c.address, c.rowStride, product.accumulate ? 1 : 0, scratch(i)];
      }),
    ),
  );
}

function splitBatch(pool: ComputePool, product: Product, parts: number): void {
  const { rows, columns, depth, batch = 1, a, b, c } = product;
  const strides = [a, b, c].map((view) => view.batchStride ?? 0);
  const [strideA = 0, strideB = 0, strideC = 0] = strides;
  const shifted = (view: MatrixView, stride: number, by: number): MatrixView => ({ ...view, address: view.address + stride * by * 4 });
  withScratch(pool, parts, columns, (scratch) =>
    pool.runSync(
      "gemmBatch",
      cut(batch, parts, 1).map(([from, to], i) => {
        const views = operands(shifted(a, strideA, from), shifted(b, strideB, from));
        return [to - from, ...strides, rows, columns, depth, ...views, c.address + strideC * from * 4, c.rowStride, product.accumulate ? 1 : 0, scratch(i)];
      }),
    ),
  );
}

const operands = (a: MatrixView, b: MatrixView): number[] => [a.address, a.rowStride, a.columnStride, b.address, b.rowStride, b.columnStride];

const widest = (ranges: readonly (readonly [number, number])[]): number => Math.max(...ranges.map(([from, to]) => to - from));

/** Bytes of scratch one call of the `gemm` kernel needs for a given number of columns. */
export function gemmScratchBytes(pool: ComputePool, columns: number): number {
  return pool.context.kernel("gemmScratchBytes")(columns);
}

function withScratch(pool: ComputePool, parts: number, columns: number, use: (scratch: (part: number) => number) => void): void {
  withParts(pool, parts, gemmScratchBytes(pool, columns), use);
}

/** Scratch for each part; one thread takes them one after another and needs it once. */
export function withParts(pool: ComputePool, parts: number, bytes: number, use: (scratch: (part: number) => number) => void): void {
  const places = pool.threads === 1 ? 1 : parts;
  const start = pool.arena.alloc(places * bytes);
  try {
    use((part) => start + (part % places) * bytes);
  } finally {
    pool.arena.free(start);
  }
}

/** [0, size) in about `parts` ranges whose borders are multiples of `multiple`. */
export function cut(size: number, parts: number, multiple: number): [number, number][] {
  const step = Math.max(multiple, Math.ceil(size / parts / multiple) * multiple);
  const ranges: [number, number][] = [];
  for (let from = 0; from < size; from += step) ranges.push([from, Math.min(size, from + step)]);
  return ranges;
}
