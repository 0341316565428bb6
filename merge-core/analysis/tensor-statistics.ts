// What a tensor's values look like: moments, extremes, special values and a histogram. Streams, so any size will do.
import { openFile } from "../bytes/file-source.ts";
import type { ByteSource } from "../bytes/source.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { DTYPE_BYTES, type DType, isFloat } from "../formats/dtypes.ts";

export interface TensorStatistics {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly count: number;
  readonly zeros: number;
  readonly nan: number;
  readonly infinite: number;
  /** Of the finite values; undefined if there are none. `std` is that of the population. */
  readonly finite: { readonly min: number; readonly max: number; readonly mean: number; readonly std: number; readonly rms: number } | undefined;
  /** Finite values by equal steps from `min` to `max`, the last step closed. */
  readonly histogram: readonly number[];
}

export interface MeasureOptions {
  readonly signal?: AbortSignal;
  /** Steps of the histogram. */
  readonly bins?: number;
  /** Bytes done of all bytes; the tensor is read twice. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Values in memory at a time. */
const CHUNK_ELEMENTS = 1 << 20;

/**
 * Reads one tensor twice: extremes and sums first, then deviations from the mean and the histogram. Sums are float64.
 * @throws WeightsmithError `file-*`, `read-short`, `cancelled`
 */
export async function measureTensor(entry: TensorEntry, { signal, bins = 64, onProgress }: MeasureOptions = {}): Promise<TensorStatistics> {
  const source = await openFile(entry.file);
  const options = signal === undefined ? {} : { signal };
  const total = 2 * entry.byteLength;
  let done = 0;
  const eachValue = async (visit: (value: number) => void) => {
    for await (const values of readValues(source, entry, options)) {
      for (let i = 0; i < values.length; i++) visit(values[i] ?? 0);
      done += values.length * DTYPE_BYTES[entry.dtype];
      onProgress?.(done, total);
    }
  };
  try {
    const sums = newSums();
    await eachValue((value) => add(sums, value));
    const { count, zeros, nan, infinite } = sums;
    const finite = count - nan - infinite;
    const histogram: number[] = Array(finite === 0 ? 0 : bins).fill(0);
    const mean = sums.sum / finite;
    let squares = 0;
    if (finite > 0)
      await eachValue((value) => {
        if (!Number.isFinite(value)) return;
        squares += (value - mean) ** 2;
        const bin = binOf(value, sums.min, sums.max, bins);
        histogram[bin] = (histogram[bin] ?? 0) + 1;
      });
    const std = Math.sqrt(squares / finite);
    const moments = finite === 0 ? undefined : { min: sums.min, max: sums.max, mean, std, rms: Math.sqrt(sums.sumOfSquares / finite) };
    return { name: entry.name, dtype: entry.dtype, shape: entry.shape, count, zeros, nan, infinite, finite: moments, histogram };
  } finally {
    await source.close();
  }
}

const newSums = () => ({ count: 0, zeros: 0, nan: 0, infinite: 0, min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY, sum: 0, sumOfSquares: 0 });

function add(sums: ReturnType<typeof newSums>, value: number): void {
  sums.count++;
  if (value === 0) sums.zeros++;
  if (Number.isFinite(value)) {
    sums.min = Math.min(sums.min, value);
    sums.max = Math.max(sums.max, value);
    sums.sum += value;
    sums.sumOfSquares += value * value;
  } else if (Number.isNaN(value)) sums.nan++;
  else sums.infinite++;
}

/** Equal values throughout have no width to divide; they all stand in the first step. Halves, because a whole width of float64 may overflow. */
function binOf(value: number, min: number, max: number, bins: number): number {
  return max === min ? 0 : Math.min(bins - 1, Math.floor(((value / 2 - min / 2) / (max / 2 - min / 2)) * bins));
}

async function* readValues(
  source: ByteSource,
  { dtype, offset, byteLength }: TensorEntry,
  options: { signal?: AbortSignal },
): AsyncGenerator<ArrayLike<number>> {
  const chunkBytes = CHUNK_ELEMENTS * DTYPE_BYTES[dtype];
  for (let at = 0; at < byteLength; at += chunkBytes) yield decode(dtype, await source.read(offset + at, Math.min(chunkBytes, byteLength - at), options));
}

function decode(dtype: DType, bytes: Uint8Array): ArrayLike<number> {
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  if (dtype === "F64") return new Float64Array(buffer);
  if (isFloat(dtype)) return widenToFloat32(dtype, bytes);
  if (dtype === "I64") return Float64Array.from(new BigInt64Array(buffer), Number);
  if (dtype === "I32") return new Int32Array(buffer);
  if (dtype === "I16") return new Int16Array(buffer);
  return dtype === "I8" ? new Int8Array(buffer) : new Uint8Array(buffer);
}
