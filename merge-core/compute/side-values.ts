// Values that belong to rows or columns rather than to single elements. They are worked out here, a range of elements at a
// time, and handed to the kernels as one more input; no kernel has to know where a row ends.
import type { Expr } from "./expr.ts";
import { cut, withParts } from "./gemm.ts";
import type { ComputePool } from "./pool.ts";
import { BLOCK } from "./reference.ts";
import type { SideExpr } from "./side-exprs.ts";

/** What working out side values needs. */
export interface SideContext {
  readonly pool: ComputePool;
  /** Length of the tensor's rows. */
  readonly columns: number;
  /** Elements of the tensor. */
  readonly size: number;
  /** Writes elements [first, end) of a formula to an address of the pool's memory; `first` begins a block of 4096. */
  store(x: Expr, first: number, end: number, address: number): Promise<void>;
}

/** Side values of a range in the pool's memory. */
export interface FilledSides {
  /** For each side where element 0 of the tensor would be. */
  readonly origins: readonly number[];
  free(): void;
}

/** Works out the elements [first, end) of side values. Those that depend on the order within rows or blocks are given whole rows and blocks. */
export async function fillSides(sides: readonly SideExpr[], first: number, end: number, context: SideContext): Promise<FilledSides> {
  const { arena } = context.pool;
  const addresses: number[] = [];
  const free = (): void => {
    for (const address of addresses) arena.free(address);
  };
  /** Room for the elements from `start` on, a few more than asked for: kernels read and write ahead. */
  const room = (start: number, stop: number): number => {
    const address = arena.alloc((stop - start) * 4 + AHEAD_BYTES);
    addresses.push(address);
    return address - start * 4;
  };
  const origins = new Map<SideExpr, number>();
  try {
    for (const side of sides) {
      if (side.op === "rowRank") origins.set(side, await rank(side, first, end, context, room));
      else if (side.op !== "turns") origins.set(side, fillPlain(side, first, end, context, room));
      else if (!origins.has(side)) await takeTurns(side, sides, first, end, context, room, origins);
    }
  } catch (error) {
    free();
    throw error;
  }
  return { origins: sides.map((side) => origins.get(side) as number), free };
}

type Room = (start: number, stop: number) => number;

const AHEAD_BYTES = 64;
/** More parts than threads, so that one that is late does not hold up the rest. */
const PARTS_PER_THREAD = 4;

function fillPlain(
  side: Exclude<SideExpr, { readonly op: "rowRank" | "turns" }>,
  first: number,
  end: number,
  { pool, columns }: SideContext,
  room: Room,
): number {
  const origin = room(first, end);
  const target = new Float32Array(pool.memory.buffer, origin + first * 4, end - first);
  if (side.op === "given") target.set(side.values.subarray(first, end));
  else if (side.op === "perRow") for (let i = 0; i < target.length; i++) target[i] = side.values[Math.floor((first + i) / columns)] as number;
  else for (let i = 0; i < target.length; i++) target[i] = side.values[(first + i) % columns] as number;
  return origin;
}

/** Elements of a formula from the start of a block of 4096 on. */
async function load(x: Expr, first: number, end: number, { store }: SideContext, room: Room): Promise<number> {
  const start = first - (first % BLOCK);
  const origin = room(start, end);
  await store(x, start, end, origin + start * 4);
  return origin;
}

/** Ranks of the rows that the range touches. */
async function rank(side: Extract<SideExpr, { readonly op: "rowRank" }>, first: number, end: number, context: SideContext, room: Room): Promise<number> {
  const { pool, columns } = context;
  const [from, to] = [Math.floor(first / columns), Math.ceil(end / columns)];
  const origin = await load(side.a, from * columns, to * columns, context, room);
  runParts(
    pool,
    "rowRanks",
    cut(to - from, pool.threads * PARTS_PER_THREAD, 1),
    pool.context.kernel("rowRanksScratchBytes")(columns),
    ([begin, stop], scratch) => [...[origin, columns, from + begin, from + stop, scratch]],
  );
  return origin;
}

/** Masks of all that take turns with `side`, each where its vector was. */
async function takeTurns(
  side: Turns,
  sides: readonly SideExpr[],
  first: number,
  end: number,
  context: SideContext,
  room: Room,
  origins: Map<SideExpr, number>,
): Promise<void> {
  const { pool, size } = context;
  const { vectors, block, count } = side;
  const group = sides.filter((other): other is Turns => other.op === "turns" && other.vectors === vectors && other.block === block && other.count === count);
  const [start, stop] = [first - (first % block), Math.min(size, Math.ceil(end / block) * block)];
  const places: number[] = [];
  for (const x of vectors.slice(0, 1 + Math.max(...group.map(({ at }) => at)))) places.push(await load(x, start, stop, context, room));
  const table = pool.arena.alloc(places.length * 4);
  // The kernel counts from the first block.
  new Uint32Array(pool.memory.buffer, table, places.length).set(places.map((origin) => origin + start * 4));
  const parts = cut(stop - start, pool.threads * PARTS_PER_THREAD, block);
  try {
    runParts(pool, "takeTurns", parts, pool.context.kernel("turnsScratchBytes")(block), ([begin, last], scratch) => [
      ...[table, places.length, begin, last, block, count, scratch],
    ]);
  } finally {
    pool.arena.free(table);
  }
  for (const other of group) origins.set(other, places[other.at] as number);
}

type Turns = Extract<SideExpr, { readonly op: "turns" }>;

function runParts(
  pool: ComputePool,
  kernel: string,
  parts: readonly (readonly [number, number])[],
  scratchBytes: number,
  args: (part: readonly [number, number], scratch: number) => number[],
): void {
  withParts(pool, parts.length, scratchBytes, (scratch) =>
    pool.runSync(
      kernel,
      parts.map((part, i) => args(part, scratch(i))),
    ),
  );
}

/** Most elements that side values are worked out for at a time, in whole blocks: enough to keep all threads busy. */
const MOST_SIDE_ELEMENTS = 2 ** 22;

/** Elements per range, so that side values take at most an eighth of the budget. */
export function sideRange(memoryBytes: number, sides: number): number {
  const affordable = Math.floor(memoryBytes / 8 / (4 * (sides + 1)) / BLOCK) * BLOCK;
  return Math.max(BLOCK, Math.min(MOST_SIDE_ELEMENTS, affordable));
}

/** A larger copy is no faster than to read the file again, which is in the system's cache by then; memory that was never used is slow to get. */
const MOST_COPIED_BYTES = 2 ** 29;

/** The inputs of a tensor stay in memory between passes if all of them take no more than this. */
export const copiedBytes = (memoryBytes: number): number => Math.min(MOST_COPIED_BYTES, memoryBytes / 2);

/** Bytes of one bit for each element of a tensor, for each of some masks; 0 if that is more than a sixteenth of the budget. */
export function keptMaskBytes(masks: number, size: number, memoryBytes: number): number {
  const bytes = masks * (Math.ceil(size / 8) + AHEAD_BYTES);
  return bytes <= memoryBytes / 16 ? bytes : 0;
}

/** Bytes of some values kept for each element of a tensor; 0 if that is more than a quarter of the budget. */
export function keptValueBytes(values: number, size: number, memoryBytes: number): number {
  const bytes = values * (size * 4 + 2 * AHEAD_BYTES);
  return bytes <= memoryBytes / 4 ? bytes : 0;
}

/** Shared memory that the side values of a tensor of `size` elements take, or what is kept of them between passes. */
export const sideBytes = (sides: number, size: number, memoryBytes: number): number =>
  sides === 0 ? 0 : Math.max(sides * 4 * Math.min(size, sideRange(memoryBytes, sides)), keptMaskBytes(sides, size, memoryBytes));
