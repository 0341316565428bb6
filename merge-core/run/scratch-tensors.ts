// Tensors that a command computes before it writes a model, in a file beside the output: the plan reads them from it like any
// tensor, and a run that was stopped does not compute them again.
import { open, rename, rm } from "node:fs/promises";
import { openFile } from "../bytes/file-source.ts";
import { DTYPE_BYTES, elementCount } from "../formats/dtypes.ts";
import { readHeader } from "../formats/safetensors.ts";
import { type FileLayout, layoutFile, type TensorSpec } from "../formats/safetensors-write.ts";
import type { TensorJob, TensorRef } from "../plan/plan.ts";

export interface ScratchTensors {
  readonly file: string;
  readonly layout: FileLayout;
  /** Says what the tensors are made from; a file of another key is written anew. */
  readonly key: string;
}

export const scratchTensors = (file: string, key: string, tensors: readonly TensorSpec[]): ScratchTensors => ({
  file,
  key,
  layout: layoutFile(tensors, { key }),
});

/** A tensor, or `count` rows of it from `first` on. */
export function scratchRef({ file, layout }: ScratchTensors, name: string, first = 0, count?: number): TensorRef {
  const tensor = layout.tensors.find((range) => range.name === name);
  if (tensor === undefined) throw new TypeError(`the file has no tensor ${name}`);
  const [rows = 0, ...rest] = tensor.shape;
  const rowBytes = elementCount(rest) * DTYPE_BYTES[tensor.dtype];
  const taken = count ?? rows - first;
  return { name, file, offset: tensor.begin + first * rowBytes, byteLength: taken * rowBytes, dtype: tensor.dtype, shape: [taken, ...rest] };
}

/** Whether the file is there, of this key. */
export async function hasScratch({ file, key, layout }: ScratchTensors): Promise<boolean> {
  try {
    const source = await openFile(file);
    try {
      return source.sizeBytes === layout.sizeBytes && (await readHeader(source)).metadata.key === key;
    } finally {
      await source.close();
    }
  } catch {
    return false;
  }
}

/** Writes the tensors' bytes, one after the other; what is not given is zero. The file appears when it is complete. */
export async function writeScratch({ file, layout }: ScratchTensors, parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
  const fresh = `${file}.tmp`;
  try {
    const handle = await open(fresh, "w");
    try {
      await handle.writeFile(layout.header);
      for await (const part of parts) await handle.writeFile(part);
      await handle.truncate(layout.sizeBytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
}

/** The job as it counts for a plan's identity: scratch tensors are known by what they are made from, not by where they wait. */
export function withoutPlace({ file, key }: ScratchTensors): (job: TensorJob) => TensorJob {
  const place = <T extends { readonly file: string }>(ref: T): T => (ref.file === file ? { ...ref, file: key } : ref);
  return (job) => {
    if (job.kind === "copy") return { ...job, source: place(job.source) };
    const inputs = job.inputs.map((input) => ({ ...place(input), ...(input.rows && { rows: { ...input.rows, sources: input.rows.sources.map(place) } }) }));
    return { ...job, inputs };
  };
}
