// Hands out parts of the shared memory. Only the thread that owns the pool allocates, so there is nothing to lock.
import { inputError } from "../diagnostics.ts";
import { PAGE_BYTES } from "./instance.ts";

/** Every block starts on a cache line, so that neighbours never share one and SIMD loads stay inside one. */
const ALIGN = 64;
/** Kernel constants live below this address. */
const BASE = PAGE_BYTES;
/** Memory grows by at least this much: growing is a system call and makes every thread renew its views. */
const GROW_BYTES = 16 * 1024 * 1024;

interface Block {
  readonly start: number;
  readonly size: number;
}

/** First fit over an address-ordered list of free blocks, merged as they return. */
export class Arena {
  readonly #memory: WebAssembly.Memory;
  readonly #limit: number;
  readonly #used = new Map<number, number>();
  #free: Block[] = [];
  #end = BASE;

  /** @param limitBytes the most the shared memory may grow to. */
  constructor(memory: WebAssembly.Memory, limitBytes: number) {
    this.#memory = memory;
    this.#limit = limitBytes;
  }

  /** Bytes handed out now. */
  get usedBytes(): number {
    let sum = 0;
    for (const size of this.#used.values()) sum += size;
    return sum;
  }

  /** Address of `bytes` uninitialised bytes, 64-byte aligned. @throws WeightsmithError `out-of-memory`. */
  alloc(bytes: number): number {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    const index = this.#free.findIndex((block) => block.size >= size);
    const start = index < 0 ? this.#extend(size) : this.#take(index, size);
    this.#used.set(start, size);
    return start;
  }

  /** Returns a block. @throws TypeError for an address that `alloc` did not give, or twice. */
  free(start: number): void {
    const size = this.#used.get(start);
    if (size === undefined) throw new TypeError(`no block starts at ${start}`);
    this.#used.delete(start);
    this.#release({ start, size });
  }

  #take(index: number, size: number): number {
    const block = this.#free[index] as Block;
    const rest = { start: block.start + size, size: block.size - size };
    this.#free.splice(index, 1, ...(rest.size > 0 ? [rest] : []));
    return block.start;
  }

  #extend(size: number): number {
    const last = this.#free.at(-1);
    const start = last !== undefined && last.start + last.size === this.#end ? last.start : this.#end;
    const end = start + size;
    this.#growTo(end);
    if (start !== this.#end) this.#free.pop();
    this.#end = end;
    return start;
  }

  #growTo(end: number): void {
    const have = this.#memory.buffer.byteLength;
    if (end <= have) return;
    if (end > this.#limit) throw outOfMemory(end, this.#limit);
    const target = Math.min(this.#limit, Math.max(end, have + GROW_BYTES));
    try {
      this.#memory.grow(Math.ceil((target - have) / PAGE_BYTES));
    } catch (cause) {
      throw outOfMemory(end, have, cause);
    }
  }

  #release(block: Block): void {
    const index = this.#free.findIndex((other) => other.start > block.start);
    const at = index < 0 ? this.#free.length : index;
    const before = this.#free[at - 1];
    const after = this.#free[at];
    const joinsBefore = before !== undefined && before.start + before.size === block.start;
    const joinsAfter = after !== undefined && block.start + block.size === after.start;
    const start = joinsBefore ? before.start : block.start;
    const end = joinsAfter ? after.start + after.size : block.start + block.size;
    this.#free.splice(at - (joinsBefore ? 1 : 0), (joinsBefore ? 1 : 0) + (joinsAfter ? 1 : 0), { start, size: end - start });
  }
}

function outOfMemory(needed: number, limit: number, cause?: unknown): Error {
  const error = inputError("out-of-memory", "the shared compute memory is exhausted", {
    found: `${needed} bytes needed`,
    expected: `at most ${limit}`,
    remedy: "raise the memory budget or use fewer threads",
  });
  if (cause !== undefined) error.cause = cause;
  return error;
}
