// Where the inputs of one tensor are: in files or in memory, and in copies that stay in the shared memory between passes.
import { throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, type FloatDType } from "../formats/dtypes.ts";
import { allArrived } from "./arrivals.ts";
import { readAhead } from "./files.ts";
import { bytesOf } from "./kernel-memory.ts";
import { type PassInput, paddedBytes } from "./passes.ts";
import type { ComputePool } from "./pool.ts";
import type { PlainStore, RowPicks, TileStore } from "./row-gather.ts";
import { copiedBytes } from "./side-values.ts";

/** Elements of one tensor, row by row: in a file, in memory (`offset` then counts from the start of `bytes`), or picked from several tensors. */
export interface TensorPlace {
  readonly dtype: FloatDType;
  readonly offset?: number;
  readonly file?: string;
  readonly bytes?: Uint8Array;
  readonly picks?: RowPicks & { readonly sources: readonly TensorPlace[] };
}

interface InputsTask {
  readonly inputs: readonly TensorPlace[];
  readonly memoryBytes: number;
  /** Elements of each. */
  readonly size: number;
  /** Whether workers will read what is in memory. */
  readonly isShared: boolean;
}

/** What is asked of a file at a time: so much that the device does not wait for the next request, little enough that cancelling does not wait long. */
const LOAD_BYTES = 8 << 20;

export class TensorInputs {
  readonly #pool: ComputePool;
  readonly #task: InputsTask;
  readonly #stores: readonly TileStore[];
  readonly #files: { readonly file: string; readonly writable: boolean }[] = [];
  /** Addresses of the copies, and how many elements of each, from the first on, are there. */
  #copies: readonly number[] = [];
  readonly #filled: number[];

  constructor(pool: ComputePool, task: InputsTask) {
    this.#pool = pool;
    this.#task = task;
    this.#filled = task.inputs.map(() => 0);
    this.#stores = task.inputs.map((input) => this.#store(input));
  }

  /** For a pass over elements `first` to `end`. With `keeps` what it reads stays in memory, if all inputs fit. */
  forPass(first: number, end: number, keeps: boolean): PassInput[] {
    if (keeps && this.#copies.length === 0) this.#copies = this.#reserve();
    return this.#task.inputs.map(({ dtype }, i) => this.#passInput(dtype, i, first, end, keeps));
  }

  /** Reads files whole into the copies, if there is room for those of all inputs. Uses none of the pool's threads. */
  async load(signal: AbortSignal | undefined, onBytes: (bytes: number) => void): Promise<void> {
    if (this.#copies.length > 0 || !this.#stores.every((store) => "file" in store)) return;
    this.#copies = this.#reserve();
    await allArrived(this.#copies.map((_, i) => this.#loadInput(i, signal, onBytes)));
  }

  async #loadInput(index: number, signal: AbortSignal | undefined, onBytes: (bytes: number) => void): Promise<void> {
    const { size, inputs } = this.#task;
    const store = this.#stores[index] as Extract<PlainStore, { readonly file: string }>;
    const address = this.#copies[index] as number;
    const bytes = size * DTYPE_BYTES[(inputs[index] as TensorPlace).dtype];
    for (let at = 0; at < bytes; at += LOAD_BYTES) {
      throwIfCancelled(signal);
      const end = Math.min(bytes, at + LOAD_BYTES);
      await readAhead(store.fd, bytesOf(this.#pool.memory).subarray(address + at, address + end), store.offset + at, store.file);
      onBytes(end - at);
    }
    this.#filled[index] = size;
  }

  /** Tells that a pass has read these inputs up to element `end`. */
  noteRead(used: readonly number[], inputs: readonly PassInput[], end: number): void {
    for (const i of used) if (i < this.#filled.length && inputs[i]?.resident !== undefined) this.#filled[i] = Math.max(this.#filled[i] as number, end);
  }

  /** Opens a file until all are closed. */
  open(file: string, offset: number, writable: boolean): PlainStore {
    const fd = this.#pool.files.acquire(file, writable);
    this.#files.push({ file, writable });
    return { file, fd, offset };
  }

  close(): void {
    for (const address of this.#copies) this.#pool.arena.free(address);
    for (const { file, writable } of this.#files) this.#pool.files.release(file, writable);
    this.#copies = [];
    this.#files.length = 0;
  }

  /** Room for every input, if that is not too much. */
  #reserve(): number[] {
    const { inputs, size, memoryBytes } = this.#task;
    const sizes = inputs.map((input) => size * DTYPE_BYTES[input.dtype]);
    const total = sizes.reduce((sum, bytes) => sum + bytes, 0);
    return total <= copiedBytes(memoryBytes) ? sizes.map((bytes) => this.#pool.arena.alloc(paddedBytes(bytes))) : [];
  }

  /** A copy grows from its start; the others read the file where there is none yet. */
  #passInput(dtype: FloatDType, index: number, first: number, end: number, keeps: boolean): PassInput {
    const filled = this.#filled[index] as number;
    const isThere = end <= filled;
    const resident = isThere || (keeps && first <= filled) ? this.#copies[index] : undefined;
    return { dtype, store: this.#stores[index] as TileStore, resident, load: !isThere };
  }

  #store({ picks, ...place }: TensorPlace): TileStore {
    if (picks === undefined) return this.#plain(place, this.#task.size * DTYPE_BYTES[place.dtype]);
    return { gather: { ...picks, sources: picks.sources.map((source) => ({ dtype: source.dtype, store: this.#plain(source) })) } };
  }

  #plain({ bytes, file, offset = 0 }: TensorPlace, byteLength?: number): PlainStore {
    if (bytes === undefined) return this.open(file ?? "", offset, false);
    const own = bytes.subarray(offset, byteLength === undefined ? undefined : offset + byteLength);
    return { bytes: this.#task.isShared ? toShared(own) : own };
  }
}

function toShared(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer instanceof SharedArrayBuffer) return bytes;
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
  shared.set(bytes);
  return shared;
}
