import { join } from "node:path";
import type { OutputShard } from "../plan/plan.ts";
import { fileSha256, type Manifest } from "./manifest.ts";

/** Hashes finished shards one after another, while the workers compute later ones. */
export class ShardHashes {
  readonly #shards: readonly OutputShard[];
  readonly #folder: string;
  readonly #enabled: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #sums = new Map<number, Promise<string>>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(shards: readonly OutputShard[], folder: string, options: { readonly enabled: boolean; readonly signal: AbortSignal | undefined }) {
    this.#shards = shards;
    this.#folder = folder;
    this.#enabled = options.enabled;
    this.#signal = options.signal;
  }

  /** Call once all tensors of the shard are written. */
  start(index: number): void {
    if (!this.#enabled) return;
    const file = join(this.#folder, this.#shards[index]?.file ?? "");
    const sum = this.#last.then(() => fileSha256(file, this.#signal));
    // A failure waits for `all`; until then it must not count as unhandled.
    this.#last = sum.catch(() => undefined);
    this.#sums.set(index, sum);
  }

  /** Waits for all sums. @throws WeightsmithError `cancelled` */
  async all(): Promise<Manifest["outputs"]> {
    await this.#last;
    const records = this.#shards.map(async ({ file, sizeBytes }, i) => {
      const sha256 = await this.#sums.get(i);
      return { file, sizeBytes, ...(sha256 === undefined ? {} : { sha256 }) };
    });
    return Promise.all(records);
  }
}
