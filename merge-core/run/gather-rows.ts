// The inputs of a tensor as its method reads them: stored tensors, tensors with an adapter added, rows picked in the order of
// the output's vocabulary.
import { gatherRows, ROW_MEAN, ROW_PADDING, type RowGather } from "../compute/row-gather.ts";
import type { TensorPlace } from "../compute/tensor-inputs.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { DTYPE_BYTES, elementCount } from "../formats/dtypes.ts";
import type { InputRef, MergeJob, RowMap } from "../plan/plan.ts";
import { type FoldContext, foldInputs } from "./fold-lora.ts";

/** The models' tensors in order, then the Fisher information of those that have some. */
export async function openInputs({ inputs, shape }: MergeJob, context: FoldContext): Promise<TensorPlace[]> {
  const folded = new Map<string, Promise<TensorPlace[]>>();
  const place = async (ref: RowMap["sources"][number]): Promise<TensorPlace> => {
    const key = JSON.stringify([ref.file, ref.offset, ref.lora]);
    const places = folded.get(key) ?? foldInputs([ref], context);
    folded.set(key, places);
    return (await places)[0] as TensorPlace;
  };
  const places: TensorPlace[] = [];
  for (const ref of inputs) places.push(ref.rows === undefined ? await place(ref) : await pick(ref, ref.rows, shape, place, context));
  return [...places, ...inputs.flatMap(({ fisher }) => fisher ?? [])];
}

type Place = (ref: RowMap["sources"][number]) => Promise<TensorPlace>;

async function pick({ name }: InputRef, map: RowMap, shape: readonly number[], place: Place, context: FoldContext): Promise<TensorPlace> {
  const sources: TensorPlace[] = [];
  for (const source of map.sources) sources.push(await place(source));
  const rowElements = elementCount(shape.slice(1));
  const computed = map.runs.some(([source]) => source === ROW_MEAN || source === ROW_PADDING);
  const own = sources[0]?.dtype ?? "F32";
  const dtype = computed || sources.some((source) => source.dtype !== own) ? "F32" : own;
  const picks = { rowElements, dtype, ...expand(map, shape[0] ?? 0), padding: undefined };
  const padded = map.runs.some(([source]) => source === ROW_PADDING);
  return { dtype, picks: { ...picks, sources, padding: padded ? await meanRow({ ...picks, sources }, name, context) : undefined } };
}

/** Two words per row, and the lists of rows to average, in memory that workers see without a copy. */
function expand({ runs, means }: RowMap, rows: number): Pick<RowGather, "rows" | "means"> {
  const words = sharedWords(2 * rows);
  const starts: number[] = [];
  const lists = sharedWords(means.reduce((sum, list) => sum + 1 + 2 * list.length, 0));
  let at = 0;
  for (const list of means) {
    starts.push(at);
    lists.set([list.length, ...list.flat()], at);
    at += 1 + 2 * list.length;
  }
  let row = 0;
  for (const [source, first, count] of runs)
    for (let k = 0; k < count; k++, row++) words.set([source, source === ROW_MEAN ? (starts[first + k] ?? 0) : source < 0 ? 0 : first + k], 2 * row);
  return { rows: words, means: lists };
}

const sharedWords = (length: number): Int32Array => new Int32Array(new SharedArrayBuffer(length * 4));

/** Bytes gathered at a time. */
const CHUNK_BYTES = 1 << 22;

/** The mean of the rows above the padding, in float64, rounded once. */
async function meanRow(
  picks: Omit<RowGather, "sources"> & { readonly sources: readonly TensorPlace[] },
  name: string,
  context: FoldContext,
): Promise<Float32Array> {
  const { files } = context.pool;
  const opened = picks.sources.filter(({ file }) => file !== undefined).map(({ file }) => file as string);
  const stores = picks.sources.map(({ dtype, file, offset = 0, bytes }) => ({
    dtype,
    store: bytes === undefined ? { file: file ?? name, fd: files.acquire(file ?? name, false), offset } : { bytes: bytes.subarray(offset) },
  }));
  try {
    const count = picks.rows.findIndex((word, i) => i % 2 === 0 && word === ROW_PADDING) / 2;
    const sums = await columnSums({ ...picks, sources: stores }, count, context.signal);
    const row = new Float32Array(new SharedArrayBuffer(picks.rowElements * 4));
    for (const [i, sum] of sums.entries()) row[i] = sum / Math.max(1, count);
    return row;
  } finally {
    for (const file of opened) files.release(file, false);
  }
}

async function columnSums(gather: RowGather, rows: number, signal: AbortSignal | undefined): Promise<Float64Array> {
  const { rowElements, dtype } = gather;
  const sums = new Float64Array(rowElements);
  const rowBytes = rowElements * DTYPE_BYTES[dtype];
  const step = Math.max(1, Math.floor(CHUNK_BYTES / Math.max(1, rowBytes)));
  for (let row = 0; row < rows; row += step) {
    throwIfCancelled(signal);
    const bytes = new Uint8Array(Math.min(step, rows - row) * rowBytes);
    gatherRows(gather, bytes, row * rowBytes);
    const values = widenToFloat32(dtype, bytes);
    for (let start = 0; start < values.length; start += rowElements)
      for (let i = 0; i < rowElements; i++) sums[i] = (sums[i] as number) + (values[start + i] as number);
    await new Promise((resume) => setImmediate(resume));
  }
  return sums;
}
