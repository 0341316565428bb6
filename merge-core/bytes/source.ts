// The one seam to storage: everything that can be read by range looks like this.

export interface ReadOptions {
  readonly signal?: AbortSignal;
}

/** Random-access bytes: a file, a buffer, an HTTP resource, or a wrapper that counts or caches another source. */
export interface ByteSource {
  /** What diagnostics call it, usually the path the user gave. */
  readonly name: string;
  readonly sizeBytes: number;
  /**
   * Exactly `length` bytes from `offset`.
   * @throws WeightsmithError `read-out-of-range` if the range does not lie inside the source, `read-short` if storage
   * returns fewer bytes than it promised (the file shrank), `cancelled`.
   */
  read(offset: number, length: number, options?: ReadOptions): Promise<Uint8Array>;
  close(): Promise<void>;
}
