// What threads do together over the tiles of a tensor, as they are told of it.
import type { GeneratedCode } from "./instance.ts";
import type { PlainStore, TileStore } from "./row-gather.ts";
import type { MaskJob, MaskPart } from "./tile-masks.ts";

/** Words of a job's control array, which all its threads share. */
export const NEXT_TILE = 0;
export const STOP = 1;
export const TILES_DONE = 2;
const CONTROL_WORDS = 3;

export function createControl(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
}

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
  /** Memory from and up to where it counts; cleared before the first tile. */
  readonly counters?: readonly [number, number] | undefined;
  /** Tile buffers of the inputs that are not resident, in the order of `inputs`. */
  readonly buffers: readonly number[];
  /** As many again, where the next tile may be read while one is computed. */
  readonly buffersAhead?: readonly number[] | undefined;
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
  /** Files that give fewer bytes per millisecond than this are read ahead, where parts have room. */
  readonly aheadBelow?: number | undefined;
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
