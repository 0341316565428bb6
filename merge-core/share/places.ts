// A matrix where it lies in its tensor: some stretches of the rows or of the columns, as a projection lies in one that is fused with others.
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { elementCount } from "../formats/dtypes.ts";

/** First and count of rows or columns. */
export type Stretch = readonly [first: number, count: number];

export interface Place {
  readonly entry: TensorEntry;
  readonly alongColumns: boolean;
  /** In the matrix's own order. */
  readonly stretches: readonly Stretch[];
}

export const wholeTensor = (entry: TensorEntry): Place => ({ entry, alongColumns: false, stretches: [[0, entry.shape[0] ?? 1]] });

const columnsOf = ({ shape }: TensorEntry): number => elementCount(shape) / Math.max(1, shape[0] ?? 1);
const total = (stretches: readonly Stretch[]): number => stretches.reduce((sum, [, count]) => sum + count, 0);

/** Rows and columns of the matrix. */
export const sidesOf = ({ entry, alongColumns, stretches }: Place): [rows: number, columns: number] =>
  alongColumns ? [entry.shape[0] ?? 1, total(stretches)] : [total(stretches), columnsOf(entry)];

/** Stretches that lie side by side as one. */
export function joined(stretches: readonly Stretch[]): Stretch[] {
  const all: Stretch[] = [];
  for (const [first, count] of stretches) {
    const last = all.at(-1);
    if (last !== undefined && last[0] + last[1] === first) all[all.length - 1] = [last[0], last[1] + count];
    else all.push([first, count]);
  }
  return all;
}

/** The tensor's elements that make up some rows of the matrix, as runs of them in order. */
function runs({ entry, alongColumns, stretches }: Place, from: number, to: number): Stretch[] {
  const columns = columnsOf(entry);
  if (alongColumns)
    return Array.from({ length: to - from }, (_, i) => stretches.map(([first, count]): Stretch => [(from + i) * columns + first, count])).flat();
  let before = 0;
  return stretches.flatMap(([first, count]): Stretch[] => {
    const [begin, end] = [Math.max(from - before, 0), Math.min(to - before, count)];
    before += count;
    return begin < end ? [[(first + begin) * columns, (end - begin) * columns]] : [];
  });
}

type Numbers = Float32Array | Float64Array;

/** Rows of the matrix. @param read gives some elements of the tensor */
export async function readRows(place: Place, from: number, to: number, read: (first: number, count: number) => Promise<Numbers>): Promise<Float64Array> {
  const columns = columnsOf(place.entry);
  const taken = new Float64Array((to - from) * sidesOf(place)[1]);
  // Columns lie apart in every row: all of a row is read at once.
  const block = place.alongColumns ? await read(from * columns, (to - from) * columns) : undefined;
  let at = 0;
  for (const [first, count] of runs(place, from, to)) {
    taken.set(block?.subarray(first - from * columns, first - from * columns + count) ?? (await read(first, count)), at);
    at += count;
  }
  return taken;
}

/** Puts rows of the matrix, from row `from` on, into the tensor's values. */
export function putRows(place: Place, values: Float32Array, from: number, taken: Float32Array): void {
  let at = 0;
  for (const [first, count] of runs(place, from, from + taken.length / Math.max(1, sidesOf(place)[1]))) {
    values.set(taken.subarray(at, at + count), first);
    at += count;
  }
}
