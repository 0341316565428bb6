// The tile loop: each thread takes the next tile of a tensor from a shared counter, brings its inputs into WASM memory,
// runs the program, and puts the result where it belongs. Nothing it does depends on which thread takes which tile.
import { writeFully } from "./files.ts";
import { bytesOf, type ComputeContext, type GeneratedCode } from "./instance.ts";
import { fetchPlain, gatherRows, type PlainStore, type RowGather } from "./row-gather.ts";
import { fillMasks, type MaskJob, type MaskPart } from "./tile-masks.ts";

/** Words of a job's control array, which all its threads share. */
const NEXT_TILE = 0;
export const STOP = 1;
export const TILES_DONE = 2;
const CONTROL_WORDS = 3;

export function createControl(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
}

/** Where a tile's bytes come from or go to; only inputs are gathered. */
export type TileStore = PlainStore | { readonly gather: RowGather };

export interface TileInput {
  /** Place in the program's table of inputs. */
  readonly slot: number;
  readonly elementBytes: number;
  readonly store: TileStore;
  /** Address of the whole tensor where it is kept in memory between passes. */
  readonly resident?: number | undefined;
  /** False once the resident copy is filled. */
  readonly load: boolean;
}

/** One thread's own memory. */
export interface TilePart {
  readonly program: number;
  /** Table of input addresses, four bytes each. */
  readonly table: number;
  /** Tile buffers of the inputs that are not resident, in the order of `inputs`. */
  readonly buffers: readonly number[];
  readonly output: number;
  /** In the order of the job's masks. */
  readonly masks: readonly MaskPart[];
  /** For what makes masks. */
  readonly scratch: number;
}

export interface TileJob {
  readonly control: Int32Array;
  /** The elements to visit; `first` is a multiple of 4096, and so is `tile`. */
  readonly first: number;
  readonly end: number;
  readonly tile: number;
  /** Elements from one tile's start to the next one's: more than `tile` to visit only a sample. */
  readonly stride: number;
  /** What to compute; nothing means the input buffers are all there is to do. */
  readonly code: GeneratedCode | undefined;
  readonly inputs: readonly TileInput[];
  /** Worked out for each tile once its inputs are there; each is one more input of the program. */
  readonly masks: readonly MaskJob[];
  readonly output: { readonly elementBytes: number; readonly store: PlainStore } | undefined;
  readonly parts: readonly TilePart[];
}

export interface TileResult {
  /** Stored elements that are infinite or NaN. */
  readonly nonFinite: number;
}

/** One thread's share of the tiles; yields after each. @throws WeightsmithError for input and output errors. */
export function* runTiles(context: ComputeContext, job: TileJob, part: number): Generator<void, TileResult> {
  const own = job.parts[part] as TilePart;
  const run = job.code === undefined ? undefined : context.specialised(job.code);
  let nonFinite = 0;
  for (;;) {
    const start = job.first + Atomics.add(job.control, NEXT_TILE, 1) * job.stride;
    if (start >= job.end || Atomics.load(job.control, STOP) !== 0) return { nonFinite };
    const count = Math.min(job.tile, job.end - start);
    readInputs(context.memory, job, own, start, count);
    fillMasks(context, job.masks, own.masks, own, start, count);
    nonFinite += run?.(own.program, own.table, own.output, count, start) ?? 0;
    writeOutput(context.memory, job, own, start, count);
    Atomics.add(job.control, TILES_DONE, 1);
    yield;
  }
}

function readInputs(memory: WebAssembly.Memory, job: TileJob, part: TilePart, start: number, count: number): void {
  job.inputs.forEach((input, i) => {
    const bytes = count * input.elementBytes;
    const address = input.resident === undefined ? (part.buffers[i] as number) : input.resident + start * input.elementBytes;
    const all = bytesOf(memory, address + bytes);
    if (input.load) fetchBytes(input.store, all.subarray(address, address + bytes), start * input.elementBytes);
    new DataView(all.buffer).setUint32(part.table + input.slot * 4, address, true);
  });
}

export function fetchBytes(store: TileStore, target: Uint8Array, from: number): void {
  if ("gather" in store) gatherRows(store.gather, target, from);
  else fetchPlain(store, target, from);
}

function writeOutput(memory: WebAssembly.Memory, job: TileJob, part: TilePart, start: number, count: number): void {
  if (job.output === undefined) return;
  const { elementBytes, store } = job.output;
  const bytes = bytesOf(memory, part.output + count * elementBytes).subarray(part.output, part.output + count * elementBytes);
  if ("bytes" in store) store.bytes.set(bytes, (start - job.first) * elementBytes);
  else writeFully(store.fd, bytes, store.offset + start * elementBytes, store.file);
}
