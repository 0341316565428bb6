import { readFully, writeFully } from "../compute/files.ts";
import type { ComputePool } from "../compute/pool.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import type { CopyJob } from "../plan/plan.ts";
import { countNonFinite } from "./non-finite.ts";

/** Stays in the second-level cache between reading, looking and writing; a multiple of every element size. */
const CHUNK_BYTES = 2 ** 20;
/** The event loop gets a turn between groups of chunks, a few milliseconds each. */
const CHUNKS_PER_TURN = 16;

/** Copies a tensor's bytes to their place in `target`. Returns how many elements are NaN or infinite. */
export async function copyTensor(
  job: CopyJob,
  target: string,
  { files }: ComputePool,
  onBytes: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<number> {
  const input = files.acquire(job.source.file, false);
  const output = files.acquire(target, true);
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, job.byteLength));
  let nonFinite = 0;
  try {
    for (let done = 0, chunks = 1; done < job.byteLength; done += CHUNK_BYTES, chunks++) {
      throwIfCancelled(signal);
      const chunk = buffer.subarray(0, Math.min(CHUNK_BYTES, job.byteLength - done));
      readFully(input, chunk, job.source.offset + done, job.source.file);
      nonFinite += countNonFinite(job.dtype, chunk);
      writeFully(output, chunk, job.offset + done, target);
      onBytes(chunk.byteLength);
      if (chunks % CHUNKS_PER_TURN === 0) await new Promise((resume) => setImmediate(resume));
    }
    return nonFinite;
  } finally {
    files.release(job.source.file, false);
    files.release(target, true);
  }
}
