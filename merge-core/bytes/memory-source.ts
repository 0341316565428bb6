import { throwIfCancelled } from "../diagnostics.ts";
import { checkRange } from "./range.ts";
import type { ByteSource } from "./source.ts";

/** A buffer as a source. Reads are copies, so that a caller may keep or change what it got. */
export function memorySource(bytes: Uint8Array, name = "memory"): ByteSource {
  return {
    name,
    sizeBytes: bytes.byteLength,
    async read(offset, length, options) {
      throwIfCancelled(options?.signal);
      checkRange(name, bytes.byteLength, offset, length);
      return new Uint8Array(bytes.subarray(offset, offset + length));
    },
    async close() {},
  };
}
