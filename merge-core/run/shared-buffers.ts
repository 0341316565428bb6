// Large buffers that all threads see, used again from tensor to tensor: the collector frees such memory late, and
// runs would take many times what they hold.
import type { ComputePool } from "../compute/pool.ts";

export class SharedBuffers {
  #free: SharedArrayBuffer[] = [];
  #taken: SharedArrayBuffer[] = [];

  /** `length` bytes of whatever content, until `release`. The smallest buffer that is large enough; else a new one takes the place of one that is not. */
  take(length: number): Uint8Array<SharedArrayBuffer> {
    const fitting = this.#free.findIndex((buffer) => buffer.byteLength >= length);
    const [found] = this.#free.splice(Math.max(0, fitting), 1);
    const buffer = fitting >= 0 && found !== undefined ? found : new SharedArrayBuffer(length);
    this.#taken.push(buffer);
    return new Uint8Array(buffer, 0, length);
  }

  /** Ends the use of all buffers. What is in them stays until the next `take`. */
  release(): void {
    this.#free = [...this.#free, ...this.#taken].sort((a, b) => a.byteLength - b.byteLength);
    this.#taken = [];
  }
}

const byPool = new WeakMap<ComputePool, SharedBuffers>();

/** The buffers of a pool, whose tensors are worked on one after the other. */
export function buffersOf(pool: ComputePool): SharedBuffers {
  const buffers = byPool.get(pool) ?? new SharedBuffers();
  byPool.set(pool, buffers);
  return buffers;
}
