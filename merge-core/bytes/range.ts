// Checks that every ByteSource shares.
import { inputError } from "../diagnostics.ts";

/** @throws WeightsmithError `read-out-of-range` unless [offset, offset + length) lies inside `sizeBytes`. */
export function checkRange(name: string, sizeBytes: number, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= sizeBytes;
  if (valid) return;
  throw inputError("read-out-of-range", "read outside the file", { file: name, found: `bytes ${offset} to ${offset + length}`, expected: `0 to ${sizeBytes}` });
}
