// Files by positional reads. Node only.
import { open } from "node:fs/promises";
import { inputError, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import { checkRange } from "./range.ts";
import type { ByteSource } from "./source.ts";

/** The part of a file handle that reading needs; narrow, so that tests can stand in for a slow or shrinking disk. */
export interface ReadableHandle {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
  stat(): Promise<{ size: number }>;
  close(): Promise<void>;
}

/** One system call reads at most this much; the kernel's own limit is 2^31 - 1. */
const MAX_READ_BYTES = 2 ** 30;

/**
 * Opens a regular file; links are followed. `name` is what diagnostics call it.
 * @throws WeightsmithError `file-missing`, `file-not-regular`, `file-unreadable`
 */
export async function openFile(path: string, name: string = path): Promise<ByteSource> {
  const handle = await open(path, "r").catch((error: unknown) => {
    throw openError(name, error);
  });
  try {
    const stats = await handle.stat();
    if (!stats.isFile())
      throw inputError("file-not-regular", "not a regular file", { file: name, found: stats.isDirectory() ? "a folder" : "a device or pipe" });
    return handleSource(handle, stats.size, name);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** What an error of the file system means to the user. */
export function openError(name: string, cause: unknown): WeightsmithError {
  const code = errorCode(cause);
  const missing = code === "ENOENT" || code === "ENOTDIR";
  return new WeightsmithError(
    {
      code: missing ? "file-missing" : "file-unreadable",
      severity: "error",
      message: missing ? "no such file" : "cannot be opened",
      file: name,
      found: code,
      remedy: missing ? "check the path" : "check that the file may be read",
    },
    { cause },
  );
}

/** The errno name of a file-system error, e.g. `ENOENT`. */
export function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";
}

/** A source on an open handle; closing the source closes the handle. */
export function handleSource(handle: ReadableHandle, sizeBytes: number, name: string): ByteSource {
  return {
    name,
    sizeBytes,
    async read(offset, length, options) {
      checkRange(name, sizeBytes, offset, length);
      const buffer = new Uint8Array(length);
      await readFully(handle, buffer, offset, { name, sizeBytes, signal: options?.signal });
      return buffer;
    },
    close: () => handle.close(),
  };
}

/** The system may return less than asked for, so this loops; nothing returned before the promised end means that the file shrank. */
async function readFully(
  handle: ReadableHandle,
  buffer: Uint8Array,
  position: number,
  file: { name: string; sizeBytes: number; signal: AbortSignal | undefined },
): Promise<void> {
  for (let done = 0; done < buffer.byteLength; ) {
    throwIfCancelled(file.signal);
    const { bytesRead } = await handle.read(buffer, done, Math.min(buffer.byteLength - done, MAX_READ_BYTES), position + done);
    if (bytesRead === 0) throw await shortReadError(handle, file, position + done);
    done += bytesRead;
  }
}

async function shortReadError(handle: ReadableHandle, file: { name: string; sizeBytes: number }, position: number): Promise<WeightsmithError> {
  const { size } = await handle.stat();
  const shrank = size < file.sizeBytes;
  return new WeightsmithError(
    {
      code: "read-short",
      severity: "error",
      message: shrank ? "the file shrank while it was being read" : "the file could not be read to its end",
      file: file.name,
      found: shrank ? `${size} bytes` : `nothing at byte ${position}`,
      expected: `${file.sizeBytes} bytes`,
      remedy: shrank ? "let nothing write to the file during the run" : "check the disk",
    },
    { exitCode: 1 },
  );
}
