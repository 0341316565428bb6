// Which products the machine's BLAS is given, and how they are cut for the threads that call it.
import type { Product } from "../product.ts";

/** Smaller products are over before a call has found its way to the library. */
export const MIN_LIBRARY_WORK = 1 << 16;
/** Parts hang on the shapes alone, so that results do not depend on the number of threads. */
const PART_WORK = 1 << 22;
const MAX_PARTS = 16;
/** Borders of parts lie on rows, or columns, that are multiples of it: the blocks of most libraries. */
const BORDER = 16;

/** A factor as the library takes it. */
interface Stored {
  readonly step: number;
  readonly turned: boolean;
}

/** A matrix [rows, columns] of which the columns or the rows lie side by side. */
function stored(rowStride: number, columnStride: number, rows: number, columns: number): Stored | undefined {
  if (columnStride === 1 && (rowStride >= columns || rows === 1)) return { step: Math.max(rowStride, columns), turned: false };
  if (rowStride === 1 && (columnStride >= rows || columns === 1)) return { step: Math.max(columnStride, rows), turned: true };
  return undefined;
}

/** Arguments of `blasGemm` for each part of a product; undefined for one that the kernels of the module do better, or that no BLAS takes. */
export function libraryParts({ rows, columns, depth, batch = 1, a, b, c, accumulate }: Product): number[][] | undefined {
  const work = rows * columns * depth;
  const [left, right] = [stored(a.rowStride, a.columnStride, rows, depth), stored(b.rowStride, b.columnStride, depth, columns)];
  if (work < MIN_LIBRARY_WORK || left === undefined || right === undefined) return undefined;
  const alongRows = rows >= columns;
  const length = alongRows ? rows : columns;
  const count = Math.max(1, Math.min(MAX_PARTS, Math.floor(work / PART_WORK)));
  const step = Math.ceil(length / count / BORDER) * BORDER;
  const parts: number[][] = [];
  for (let entry = 0; entry < batch; entry++)
    for (let from = 0; from < length; from += step) {
      const size = Math.min(step, length - from);
      const address = ({ address, batchStride = 0 }: Product["a"], offset: number) => address + (entry * batchStride + offset) * 4;
      const [fromRow, fromColumn] = alongRows ? [from, 0] : [0, from];
      parts.push([
        ...(alongRows ? [size, columns, depth] : [rows, size, depth]),
        ...[address(a, fromRow * a.rowStride), left.step, left.turned ? 1 : 0],
        ...[address(b, fromColumn * b.columnStride), right.step, right.turned ? 1 : 0],
        ...[address(c, fromRow * c.rowStride + fromColumn), c.rowStride, accumulate ? 1 : 0],
      ]);
    }
  return parts;
}
