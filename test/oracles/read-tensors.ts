// Whole safetensors files in memory, for comparing small golden data.
import { openFile } from "../../merge-core/bytes/file-source.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import type { DType, FloatDType } from "../../merge-core/formats/dtypes.ts";
import { readHeader } from "../../merge-core/formats/safetensors.ts";

export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Every tensor of a file by name. */
export async function readTensors(path: string): Promise<Map<string, StoredTensor>> {
  const source = await openFile(path);
  try {
    const { tensors } = await readHeader(source);
    const read = tensors.map(async ({ name, dtype, shape, begin, end }) => [name, { dtype, shape, data: await source.read(begin, end - begin) }] as const);
    return new Map(await Promise.all(read));
  } finally {
    await source.close();
  }
}

/** The values of a float tensor. */
export function valuesOf(tensor: StoredTensor | undefined): Float32Array {
  if (tensor === undefined) throw new Error("no such tensor");
  return widenToFloat32(tensor.dtype as FloatDType, tensor.data);
}
