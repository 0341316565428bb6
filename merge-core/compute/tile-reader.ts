// How a thread gets the inputs of its tiles. The first tile is read at once and timed: where that takes longer than memory would, the bytes come from
// a device, and from then on the next tile is on its way while one is computed. The fastest read counts, as any may have been held up.
import { allArrived } from "./arrivals.ts";
import { readAhead } from "./files.ts";
import { bytesOf } from "./kernel-memory.ts";
import { fetchBytes, type TileStore } from "./row-gather.ts";
import { NEXT_TILE, STOP, type TileInput, type TileJob, type TilePart } from "./tile-job.ts";

export interface ReadTile {
  readonly start: number;
  readonly count: number;
  /** Where each of the job's inputs is. */
  readonly addresses: readonly number[];
  /** Until then some bytes are missing. */
  readonly arrival: Promise<void> | undefined;
}

export class TileReader {
  readonly #memory: WebAssembly.Memory;
  readonly #job: TileJob;
  readonly #part: TilePart;
  /** Which buffers the next tile goes to. */
  #buffers: readonly number[];
  #spare: readonly number[] | undefined;
  /** Bytes per millisecond that a file gave at best. */
  #rate = 0;
  #ahead: ReadTile | undefined;

  constructor(memory: WebAssembly.Memory, job: TileJob, part: TilePart) {
    this.#memory = memory;
    this.#job = job;
    this.#part = part;
    this.#buffers = part.buffers;
    // Without anything in files, reading ahead gains nothing.
    this.#spare = job.inputs.some(isFromFile) ? part.buffersAhead : undefined;
  }

  /** The tile that is on its way, else the next one, read now; undefined if none is left. */
  read(): ReadTile | undefined {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead !== undefined) return ahead;
    return this.#take((store, target, from) => {
      const began = performance.now();
      fetchBytes(store, target, from);
      if ("file" in store) this.#rate = Math.max(this.#rate, target.byteLength / (performance.now() - began));
    });
  }

  /** Begins to read the tile after the one that was read, if that is worth it. The last tiles are left to threads that have none. */
  readAhead(): void {
    const { control, first, end, stride, parts, aheadBelow = 0 } = this.#job;
    const left = Math.ceil((end - first) / stride) - Atomics.load(control, NEXT_TILE);
    if (this.#spare === undefined || this.#rate >= aheadBelow || left <= parts.length) return;
    [this.#buffers, this.#spare] = [this.#spare, this.#buffers];
    this.#ahead = this.#take(fetchAhead);
  }

  /** Tells the program where a tile's inputs are. */
  enter({ addresses }: ReadTile): void {
    const view = new DataView(this.#memory.buffer);
    this.#job.inputs.forEach(({ slot }, i) => {
      view.setUint32(this.#part.table + slot * 4, addresses[i] as number, true);
    });
  }

  /** Waits until nothing writes to memory any more. */
  async settled(): Promise<void> {
    await this.#ahead?.arrival?.catch(() => undefined);
  }

  #take(fetch: (store: TileStore, target: Uint8Array, from: number) => Promise<void> | void): ReadTile | undefined {
    const { control, first, end, tile, stride, inputs } = this.#job;
    const start = first + Atomics.add(control, NEXT_TILE, 1) * stride;
    if (start >= end || Atomics.load(control, STOP) !== 0) return undefined;
    const count = Math.min(tile, end - start);
    const pending: Promise<void>[] = [];
    const addresses = inputs.map((input, i) => {
      const bytes = count * input.elementBytes;
      const address = input.resident === undefined ? (this.#buffers[i] as number) : input.resident + start * input.elementBytes;
      if (!input.load) return address;
      const target = bytesOf(this.#memory, address + bytes).subarray(address, address + bytes);
      const read = fetch(input.store, target, start * input.elementBytes);
      if (read !== undefined) pending.push(read);
      return address;
    });
    return { start, count, addresses, arrival: pending.length === 0 ? undefined : allArrived(pending) };
  }
}

const isFromFile = ({ load, store }: TileInput): boolean => load && "file" in store;

const fetchAhead = (store: TileStore, target: Uint8Array, from: number): Promise<void> | void =>
  "file" in store ? readAhead(store.fd, target, store.offset + from, store.file) : fetchBytes(store, target, from);
