import type { ByteSource } from "./source.ts";

/** A source that remembers what was read from it. */
export interface CountingSource extends ByteSource {
  readonly reads: readonly { readonly offset: number; readonly length: number }[];
  readonly bytesRead: number;
}

/** Wraps `inner` so that a test can say how many bytes an operation touched, and which. */
export function countingSource(inner: ByteSource): CountingSource {
  const reads: { offset: number; length: number }[] = [];
  return {
    name: inner.name,
    sizeBytes: inner.sizeBytes,
    reads,
    get bytesRead() {
      return reads.reduce((sum, read) => sum + read.length, 0);
    },
    read(offset, length, options) {
      reads.push({ offset, length });
      return inner.read(offset, length, options);
    },
    close: () => inner.close(),
  };
}
