import { open } from "node:fs/promises";
import { openFile } from "../bytes/file-source.ts";
import type { CopyJob } from "../plan/plan.ts";
import { countNonFinite } from "./non-finite.ts";

/** A multiple of every element size, so that elements are whole in each chunk. */
const CHUNK_BYTES = 8 * 2 ** 20;

/** Copies a tensor's bytes to their place in `target`. Returns how many elements are NaN or infinite. */
export async function copyTensor(job: CopyJob, target: string, onBytes: (bytes: number) => void, signal?: AbortSignal): Promise<number> {
  const source = await openFile(job.source.file);
  const output = await open(target, "r+");
  let nonFinite = 0;
  try {
    for (let done = 0; done < job.byteLength; done += CHUNK_BYTES) {
      const chunk = await source.read(job.source.offset + done, Math.min(CHUNK_BYTES, job.byteLength - done), { signal });
      nonFinite += countNonFinite(job.dtype, chunk);
      await writeFully(output, chunk, job.offset + done);
      onBytes(chunk.byteLength);
    }
    return nonFinite;
  } finally {
    await Promise.all([source.close(), output.close()]);
  }
}

async function writeFully(
  output: { write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesWritten: number }> },
  chunk: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < chunk.byteLength; ) done += (await output.write(chunk, done, chunk.byteLength - done, position + done)).bytesWritten;
}
