// Masks that every thread works out for its own tile before the formula runs over it: elements taken in turns, and random draws. Tiles then
// hold whole blocks and rows, and what lies between stays in the cache. A draw is one bit an element, kept where a later pass uses it again.

import type { Expr } from "./expr.ts";
import { input } from "./expr.ts";
import { findParts, replaceParts } from "./formula-parts.ts";
import type { ComputeContext, GeneratedCode } from "./instance.ts";
import type { InputType, Sink } from "./program.ts";
import { BLOCK } from "./reference.ts";
import { type RandomKey, streamWord } from "./rng.ts";
import { sidesOf } from "./side-exprs.ts";

type Draw = Extract<Expr, { readonly op: "bernoulli" }>;
type Turns = Extract<Expr, { readonly op: "turns" }>;

/**
 * How masks are made. `chance`: of random numbers alone, in multiples of 2^-24 below `below`. Others are made of vectors, which are a tile's
 * float32 values by formulas of their own; of turns the masks take their place.
 */
export type MaskWork =
  | { readonly kind: "chance"; readonly below: number; readonly words: readonly number[] }
  | { readonly kind: "rank"; readonly columns: number; readonly low: number; readonly span: number; readonly words: readonly number[] }
  | { readonly kind: "turns"; readonly block: number; readonly count: number };

/** Where a mask is between passes, and whether it is there yet. */
export interface KeptMask {
  readonly address: number;
  readonly isFilled: boolean;
}

export interface TileMask {
  readonly vectors: readonly Expr[];
  readonly work: MaskWork;
  /** The draw, which is its own name. */
  readonly draw?: Draw;
  readonly kept?: KeptMask | undefined;
}

/** The inputs that a mask is to a formula. */
export const typesOfMask = ({ vectors, work }: Pick<TileMask, "vectors" | "work">): readonly InputType[] =>
  work.kind === "turns" ? vectors.map(() => "F32" as const) : ["BITS"];

export interface MaskPlan {
  readonly masks: readonly TileMask[];
  /** The sinks with the masks' inputs, from the first free slot on. */
  readonly sinks: readonly Sink[];
  /** Tiles hold a multiple of this many elements. */
  readonly unit: number;
}

export interface MaskContext {
  readonly inputCount: number;
  readonly columns: number;
  readonly key: RandomKey;
}

/** What a pass's formulas need; undefined if there are no such masks, or values of rows and columns besides. */
export function planMasks(sinks: readonly Sink[], context: MaskContext): MaskPlan | undefined {
  const found = findParts(sinks, isMask);
  const turns = groupTurns(found.filter((x) => x.op === "turns"));
  const draws = found.filter((x) => x.op === "bernoulli").flatMap((draw) => planDraw(draw, context) ?? []);
  if (turns.length + draws.length === 0) return undefined;
  const slots = new Map<Expr, Expr>();
  let slot = context.inputCount;
  for (const { draw } of draws) slots.set(draw, input(slot++));
  for (const { members } of turns) {
    for (const turn of members) slots.set(turn, input(slot + turn.at));
    slot += vectorsOf(members).length;
  }
  const masks: TileMask[] = [...draws, ...turns.map(({ members, work }) => ({ vectors: vectorsOf(members), work }))];
  const replaced = replaceParts(sinks, (x) => slots.get(x));
  const others = [...replaced, ...masks.flatMap(({ vectors }) => vectors.map((x): Sink => ({ kind: "histogramHigh", x })))];
  return sidesOf(others).length > 0
    ? undefined
    : { masks, sinks: replaced, unit: masks.reduce((unit, { work }) => leastMultiple(unit, lengthOf(work)), BLOCK) };
}

export const isMask = (x: Expr): x is Draw | Turns => x.op === "bernoulli" || x.op === "turns";

/** Draws with other probabilities are part of the formula. */
function planDraw(draw: Draw, { columns, key }: MaskContext): (TileMask & { draw: Draw }) | undefined {
  const words = [streamWord(draw.stream), key.seedLow, key.seedHigh, key.nameLow, key.nameHigh];
  if (draw.keep.op === "const") return { vectors: [], work: { kind: "chance", below: stepsBelow(draw.keep.value), words }, draw };
  const ranked = rankedDraw(draw);
  return ranked && { vectors: [ranked.a], work: { kind: "rank", columns, low: ranked.low, span: ranked.span, words }, draw };
}

/** Of the random numbers, multiples of 2^-24 from 0 to 1, how many are below this; none are below NaN. */
const stepsBelow = (keep: number): number => Math.min(2 ** 24, Math.max(0, Math.ceil(Math.fround(keep) * 2 ** 24) || 0));

/** A probability that rises with the rank: low + span * rank. */
function rankedDraw({ keep }: Draw): { readonly a: Expr; readonly low: number; readonly span: number } | undefined {
  const [first, second] = keep.op === "linear" && keep.terms.length === 2 ? keep.terms : [];
  if (first?.x.op !== "const" || first.weight !== 1 || second?.x.op !== "rowRank" || !(second.weight >= 0)) return undefined;
  return { a: second.x.a, low: Math.fround(first.x.value), span: Math.fround(second.weight) };
}

interface TurnGroup {
  readonly members: readonly Turns[];
  readonly work: Extract<MaskWork, { readonly kind: "turns" }>;
}

/** Those who take turns with each other. */
function groupTurns(turns: readonly Turns[]): TurnGroup[] {
  const groups: { members: Turns[]; work: TurnGroup["work"] }[] = [];
  for (const turn of turns) {
    const { vectors, block, count } = turn;
    const group = groups.find(({ members, work }) => members[0]?.vectors === vectors && work.block === block && work.count === count);
    if (group === undefined) groups.push({ members: [turn], work: { kind: "turns", block, count } });
    else group.members.push(turn);
  }
  return groups;
}

/** The vectors that have their turn until the last of these. */
function vectorsOf(members: readonly Turns[]): readonly Expr[] {
  return (members[0]?.vectors ?? []).slice(0, 1 + Math.max(...members.map(({ at }) => at)));
}

const lengthOf = (work: MaskWork): number => (work.kind === "rank" ? work.columns : work.kind === "turns" ? work.block : 1);

function leastMultiple(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

/** Memory that a thread needs for a tile of `elements`, besides the vectors. */
export function maskScratchBytes({ kernel }: ComputeContext, masks: readonly { readonly work: MaskWork; readonly kept?: KeptMask | undefined }[]): number {
  const bytes = masks.map(({ work, kept }) => {
    if (work.kind === "chance" || kept?.isFilled) return 0;
    // The table of the vectors' addresses stands before the kernel's own scratch.
    return work.kind === "rank" ? kernel("drawByRankScratchBytes")(work.columns) : TABLE_BYTES + kernel("turnsScratchBytes")(work.block);
  });
  return Math.max(0, ...bytes);
}

/** Room for the addresses of as many vectors as an instruction list can have inputs. */
const TABLE_BYTES = 4096;

/** A mask as a thread sees it: the program for each vector, none if the mask is kept, and the place of each in the table of inputs. */
export interface MaskJob {
  readonly codes: readonly GeneratedCode[];
  readonly slots: readonly number[];
  readonly work: MaskWork;
  readonly kept: KeptMask | undefined;
}

/** One thread's memory for a mask: of draws that are not kept, its bits, too. */
export interface MaskPart {
  readonly programs: readonly number[];
  readonly buffers: readonly number[];
  readonly bits: number;
}

/** What of a thread's memory all masks use: the table of the addresses of inputs, and room for kernels. */
interface MaskRoom {
  readonly table: number;
  readonly scratch: number;
}

/** Makes the masks of a tile, and notes in the table of inputs where they are. */
export function fillMasks(context: ComputeContext, masks: readonly MaskJob[], parts: readonly MaskPart[], room: MaskRoom, start: number, count: number): void {
  masks.forEach(({ codes, slots, work, kept }, i) => {
    const part = parts[i] as MaskPart;
    const bits = kept === undefined ? part.bits : kept.address + start / 8;
    const view = new DataView(context.memory.buffer);
    slots.forEach((slot, v) => {
      view.setUint32(room.table + slot * 4, work.kind === "turns" ? (part.buffers[v] as number) : bits, true);
    });
    if (kept?.isFilled) return;
    codes.forEach((code, v) => {
      context.specialised(code)(part.programs[v] as number, room.table, part.buffers[v] as number, count, start);
    });
    doWork(context, work, part.buffers, bits, room.scratch, start, count);
  });
}

function doWork(
  { kernel, memory }: ComputeContext,
  work: MaskWork,
  buffers: readonly number[],
  bits: number,
  scratch: number,
  start: number,
  count: number,
): void {
  if (work.kind === "chance") kernel("drawBits")(bits, count, start, work.below, ...work.words);
  else if (work.kind === "rank") {
    const { columns, low, span, words } = work;
    kernel("drawByRank")(buffers[0] as number, columns, count / columns, low, span, start, ...words, scratch);
    kernel("packMask")(buffers[0] as number, bits, count);
  } else {
    new Uint32Array(memory.buffer, scratch, buffers.length).set(buffers);
    kernel("takeTurns")(scratch, buffers.length, 0, count, work.block, work.count, scratch + TABLE_BYTES);
  }
}
