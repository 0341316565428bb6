import { createHash, type Hash } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { basename, join } from "node:path";
import { readFully } from "../compute/files.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import type { OutputShard } from "../plan/plan.ts";
import type { Manifest } from "./manifest.ts";

/** One read and one update: a fraction of a millisecond, so that a worker that is done does not wait long for its next tensor. */
const CHUNK_BYTES = 2 ** 19;
/** Less than this waits for more, as a file is opened each time. */
const WORTHWHILE_BYTES = 8 * 2 ** 20;

/** A shard on its way: bytes from its start that will not change, and how many of them the sum covers. */
interface GrowingShard {
  readonly file: string;
  readonly sizeBytes: number;
  readonly hash: Hash;
  written: number;
  asked: number;
  hashed: number;
  sha256?: string;
}

/** Hashes shards as they grow, one after another, while the workers compute what follows: what is read again was written a moment ago. */
export class ShardHashes {
  readonly #shards: readonly GrowingShard[];
  readonly #enabled: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #buffer = new Uint8Array(CHUNK_BYTES);
  #last: Promise<void> = Promise.resolve();

  constructor(shards: readonly OutputShard[], folder: string, options: { readonly enabled: boolean; readonly signal: AbortSignal | undefined }) {
    this.#shards = shards.map(({ file, sizeBytes }) => ({
      ...{ file: join(folder, file), sizeBytes, hash: createHash("sha256"), written: 0, asked: 0, hashed: 0 },
    }));
    this.#enabled = options.enabled;
    this.#signal = options.signal;
  }

  /** Tells that the shard's first bytes, up to `end`, are written for good. */
  written(index: number, end: number): void {
    const shard = this.#shards[index];
    if (!this.#enabled || shard === undefined) return;
    shard.written = end;
    if (end - shard.asked < WORTHWHILE_BYTES && end < shard.sizeBytes) return;
    shard.asked = end;
    this.#last = this.#last.then(() => this.#follow(shard));
    // A failure waits for `all`; until then it must not count as unhandled.
    this.#last.catch(() => undefined);
  }

  /** Waits for all sums; a shard of which not every byte was told has none. @throws WeightsmithError `cancelled` */
  async all(): Promise<Manifest["outputs"]> {
    await this.#last;
    return this.#shards.map(({ file, sizeBytes, sha256 }) => ({ file: basename(file), sizeBytes, ...(sha256 === undefined ? {} : { sha256 }) }));
  }

  /** Adds what is written by now. */
  async #follow(shard: GrowingShard): Promise<void> {
    if (shard.hashed === shard.written) return;
    const fd = openSync(shard.file, "r");
    try {
      while (shard.hashed < shard.written) {
        throwIfCancelled(this.#signal);
        const chunk = this.#buffer.subarray(0, Math.min(CHUNK_BYTES, shard.written - shard.hashed));
        // Not in the background: these bytes are in the system's cache, and to wait for another thread takes longer where all cores are busy.
        readFully(fd, chunk, shard.hashed, shard.file);
        shard.hash.update(chunk);
        shard.hashed += chunk.byteLength;
        await new Promise((resume) => setImmediate(resume));
      }
    } finally {
      closeSync(fd);
    }
    if (shard.hashed === shard.sizeBytes) shard.sha256 = shard.hash.digest("hex");
  }
}
