// Reads a stored tensor into memory that is there already, as float32.
import { readFully } from "../compute/files.ts";
import type { ComputePool } from "../compute/pool.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { DTYPE_BYTES } from "../formats/dtypes.ts";
import type { StoredFloats } from "../plan/plan.ts";

/** Elements read at a time. */
const CHUNK_ELEMENTS = 1 << 20;

/** @throws WeightsmithError `file-open`, `file-read`, `read-short`, `cancelled` */
export async function readFloats({ file, offset, dtype }: StoredFloats, target: Float32Array, { files }: ComputePool, signal?: AbortSignal): Promise<void> {
  const width = DTYPE_BYTES[dtype];
  const fd = files.acquire(file, false);
  try {
    for (let first = 0; first < target.length; first += CHUNK_ELEMENTS) {
      throwIfCancelled(signal);
      const bytes = new Uint8Array(Math.min(CHUNK_ELEMENTS, target.length - first) * width);
      readFully(fd, bytes, offset + first * width, file);
      target.set(widenToFloat32(dtype, bytes), first);
      await new Promise((resume) => setImmediate(resume));
    }
  } finally {
    files.release(file, false);
  }
}
