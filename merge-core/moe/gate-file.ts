// Gates in a file beside the output: they are read from it like any tensor, and a run that was stopped does not compute them again.
import { open, rename, rm } from "node:fs/promises";
import { openFile } from "../bytes/file-source.ts";
import { readHeader } from "../formats/safetensors.ts";
import { type FileLayout, layoutFile } from "../formats/safetensors-write.ts";
import type { TensorRef } from "../plan/plan.ts";
import type { Gates } from "./gates.ts";

export interface GateFile {
  readonly file: string;
  readonly layout: FileLayout;
  /** Says of what the gates are; a file of another is written anew. */
  readonly key: string;
}

/** @param zeros length of a vector of zeros behind the gates, for biases that the models lack */
export function gateFile(file: string, key: string, layers: number, rows: number, hidden: number, zeros: number): GateFile {
  const gates = Array.from({ length: layers }, (_, layer) => ({ name: `gates.${layer}`, dtype: "F32" as const, shape: [rows, hidden] }));
  return { file, key, layout: layoutFile([...gates, { name: "zeros", dtype: "F32", shape: [zeros] }], { key }) };
}

/** `count` rows of a layer's gates, or that many zeros. */
export function gateRows({ file, layout }: GateFile, name: string, first: number, count: number): TensorRef & { readonly dtype: "F32" } {
  const tensor = layout.tensors.find((range) => range.name === name);
  if (tensor === undefined) throw new TypeError(`the gates have no tensor ${name}`);
  const [width] = tensor.shape.slice(1);
  const rowBytes = 4 * (width ?? 1);
  return {
    name,
    file,
    offset: tensor.begin + first * rowBytes,
    byteLength: count * rowBytes,
    dtype: "F32",
    shape: width === undefined ? [count] : [count, width],
  };
}

/** Whether the file is there, of this key. */
export async function hasGates({ file, key, layout }: GateFile): Promise<boolean> {
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

export async function writeGates({ file, layout }: GateFile, gates: Gates): Promise<void> {
  const fresh = `${file}.tmp`;
  const handle = await open(fresh, "w");
  try {
    await handle.write(layout.header);
    for (const rows of gates) for (const row of rows) await handle.write(new Uint8Array(row.buffer, row.byteOffset, row.byteLength));
    await handle.truncate(layout.sizeBytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(fresh, file).catch(async (error: unknown) => {
    await rm(fresh, { force: true });
    throw error;
  });
}
