// Chosen rows of a stored matrix as float32, read front to back a few megabytes at a time. Node only.
import { openFile } from "../bytes/file-source.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { DTYPE_BYTES, type FloatDType } from "../formats/dtypes.ts";

const CHUNK_BYTES = 4 * 2 ** 20;

/** Row `ids[i]` goes to row i of `into`. */
export async function readTokenRows(entry: TensorEntry, ids: readonly number[], into: Float32Array, signal?: AbortSignal): Promise<void> {
  const [rows = 0, width = 1] = entry.shape;
  const dtype = entry.dtype as FloatDType;
  const rowBytes = width * DTYPE_BYTES[dtype];
  const step = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes));
  const order = ids.map((id, at) => ({ id, at })).sort((a, b) => a.id - b.id);
  const source = await openFile(entry.file);
  try {
    for (let next = 0; next < order.length; ) {
      throwIfCancelled(signal);
      const first = order[next]?.id ?? 0;
      const bytes = await source.read(entry.offset + first * rowBytes, Math.min(step, rows - first) * rowBytes);
      for (; next < order.length && (order[next]?.id as number) < first + step; next++) {
        const { id, at } = order[next] as { id: number; at: number };
        into.set(widenToFloat32(dtype, bytes.subarray((id - first) * rowBytes, (id - first + 1) * rowBytes)), at * width);
      }
    }
  } finally {
    await source.close();
  }
}
