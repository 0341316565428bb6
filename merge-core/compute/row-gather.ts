// A tensor put together from rows of other tensors while it is read: vocabularies are brought into one order this way, without
// a copy of the embedding on disk or in memory. Stretches of consecutive rows are read at once.
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { DTYPE_BYTES, type FloatDType } from "../formats/dtypes.ts";
import { readFully } from "./files.ts";

/** Rows that are no source's: all zeros, the given padding row, or the mean of several rows. */
export const ROW_ZERO = -1;
export const ROW_PADDING = -2;
export const ROW_MEAN = -3;

/** Bytes of one tensor, in a file or in memory that all threads can see. */
export type PlainStore =
  | { readonly file: string; readonly fd: number; readonly offset: number }
  | { readonly bytes: Uint8Array /** Which byte of the tensor `bytes` begins with. */; readonly first?: number };

/** Where a tensor's bytes come from or go to; only inputs are gathered. */
export type TileStore = PlainStore | { readonly gather: RowGather };

export interface RowPicks {
  readonly rowElements: number;
  /** What the rows are given in: the sources' dtype if they share one and no row is computed, else F32. */
  readonly dtype: FloatDType;
  /** Two words per row: a source and its row; or a kind from above, and for a mean where its list starts in `means`. */
  readonly rows: Int32Array;
  /** Lists of a count and that many pairs of source and row. */
  readonly means: Int32Array;
  readonly padding: Float32Array | undefined;
}

export interface RowGather extends RowPicks {
  readonly sources: readonly { readonly dtype: FloatDType; readonly store: PlainStore }[];
}

/** Fills `target` with the bytes from byte `from` on. @throws WeightsmithError `file-read`, `read-short` */
export function fetchBytes(store: TileStore, target: Uint8Array, from: number): void {
  if ("gather" in store) gatherRows(store.gather, target, from);
  else fetchPlain(store, target, from);
}

/** Fills `target` with the tensor's bytes from byte `from` on; both ends lie between elements. @throws WeightsmithError `file-read`, `read-short` */
export function gatherRows(gather: RowGather, target: Uint8Array, from: number): void {
  const rowBytes = gather.rowElements * DTYPE_BYTES[gather.dtype];
  for (let done = 0; done < target.byteLength; ) {
    const row = Math.floor((from + done) / rowBytes);
    const skip = (from + done) % rowBytes;
    const most = Math.ceil((target.byteLength - done + skip) / rowBytes);
    const bytes = Math.min(runLength(gather.rows, row, most) * rowBytes - skip, target.byteLength - done);
    fill(gather, row, skip, target.subarray(done, done + bytes));
    done += bytes;
  }
}

/** How many rows from `row` on, up to `most`, follow each other in one source. Computed rows stand alone, zeros do not. */
function runLength(rows: Int32Array, row: number, most: number): number {
  const source = rows[2 * row] as number;
  if (source === ROW_MEAN || source === ROW_PADDING) return 1;
  const step = source === ROW_ZERO ? 0 : 1;
  const first = rows[2 * row + 1] as number;
  let count = 1;
  while (count < most && rows[2 * (row + count)] === source && rows[2 * (row + count) + 1] === first + count * step) count++;
  return count;
}

function fill(gather: RowGather, row: number, skip: number, target: Uint8Array): void {
  const [kind, place] = [gather.rows[2 * row] as number, gather.rows[2 * row + 1] as number];
  if (kind === ROW_ZERO) target.fill(0);
  else if (kind === ROW_PADDING) target.set(bytesOfFloats(gather.padding ?? new Float32Array(gather.rowElements)).subarray(skip, skip + target.byteLength));
  else if (kind === ROW_MEAN) target.set(bytesOfFloats(meanRow(gather, place)).subarray(skip, skip + target.byteLength));
  else readRows(gather, kind, place * gather.rowElements + skip / DTYPE_BYTES[gather.dtype], target);
}

/** Elements of a source from number `first` on, as many as `target` holds. */
function readRows({ sources, dtype }: RowGather, index: number, first: number, target: Uint8Array): void {
  const source = sources[index] as RowGather["sources"][number];
  const size = DTYPE_BYTES[source.dtype];
  const same = source.dtype === dtype;
  const bytes = same ? target : new Uint8Array((target.byteLength / DTYPE_BYTES[dtype]) * size);
  fetchPlain(source.store, bytes, first * size);
  if (!same) target.set(bytesOfFloats(widenToFloat32(source.dtype, bytes)));
}

function meanRow(gather: RowGather, at: number): Float32Array {
  const count = gather.means[at] as number;
  const sums = new Float64Array(gather.rowElements);
  const row = new Float32Array(gather.rowElements);
  for (let k = 0; k < count; k++) {
    const [source, place] = [gather.means[at + 1 + 2 * k] as number, gather.means[at + 2 + 2 * k] as number];
    readRows(gather, source, place * gather.rowElements, bytesOfFloats(row));
    for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) + (row[i] as number);
  }
  return Float32Array.from(sums, (sum) => sum / count);
}

const bytesOfFloats = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** Bytes of a plain tensor from byte `from` on. */
export function fetchPlain(store: PlainStore, target: Uint8Array, from: number): void {
  if ("bytes" in store) target.set(store.bytes.subarray(from - (store.first ?? 0), from - (store.first ?? 0) + target.byteLength));
  else readFully(store.fd, target, store.offset + from, store.file);
}
