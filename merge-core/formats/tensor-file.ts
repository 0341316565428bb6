// One file of tensors, in whichever format it is; told by its first bytes, not by its name.
import type { ByteSource, ReadOptions } from "../bytes/source.ts";
import { inputError } from "../diagnostics.ts";
import { isLegacyPytorch, legacyHeaderBytes, readLegacyHeader } from "./pytorch-legacy.ts";
import { readPytorchHeader } from "./pytorch-zip.ts";
import { readHeader, type TensorRange } from "./safetensors.ts";
import { readZipDirectory } from "./zip.ts";

/** Endings of PyTorch files. */
export const PYTORCH_FILE = /\.(bin|pt|pth|ckpt)$/;

export interface TensorFileHeader {
  /** In the order in which their bytes lie. */
  readonly tensors: readonly TensorRange[];
  /** The `__metadata__` of safetensors; PyTorch files have none. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads and checks what a file says of its tensors; touches none of their data.
 * @throws WeightsmithError `pytorch-unknown`, and what the formats' readers throw
 */
export async function readTensorFile(source: ByteSource, options?: ReadOptions): Promise<TensorFileHeader> {
  if (await isZip(source, options)) return { tensors: await readPytorchHeader(source, options), metadata: {} };
  if (await isLegacyPytorch(source, options)) return { tensors: await readLegacyHeader(source, options), metadata: {} };
  if (!PYTORCH_FILE.test(source.name)) return readHeader(source, options);
  throw inputError("pytorch-unknown", "not a file of torch.save", {
    file: source.name,
    expected: "a zip archive, or the magic number of versions before 1.6",
    remedy: "get the file again, or convert it to safetensors",
  });
}

/** The bytes that tell one version of a file from another: what stands before the tensors, or the directory of a zip archive with its checksums. */
export async function identifyingBytes(source: ByteSource, options?: ReadOptions): Promise<Uint8Array> {
  if (await isLegacyPytorch(source, options)) return legacyHeaderBytes(source, options);
  if (!(await isZip(source, options))) return source.read(0, (await readHeader(source, options)).dataOffset, options);
  const { offset } = await readZipDirectory(source, options);
  return source.read(offset, source.sizeBytes - offset, options);
}

async function isZip(source: ByteSource, options?: ReadOptions): Promise<boolean> {
  const start = await source.read(0, Math.min(4, source.sizeBytes), options);
  return start.byteLength === 4 && start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4;
}
