// Values that belong to rows or columns rather than to single elements. They are worked out here, a range of elements at a
// time, and handed to the kernels as one more input; no kernel has to know where a row ends.
import type { Expr, Reduction } from "./expr.ts";
import type { Sink } from "./program.ts";
import { BLOCK } from "./reference.ts";
import { rowRanks } from "./row-ranks.ts";
import { blockRange, takeTurns } from "./turns.ts";

export type SideExpr = Extract<Expr, { readonly op: "perRow" | "perColumn" | "rowRank" | "given" | "turns" }>;

/** The side values that the sinks' formulas use, not those inside the formulas that ranks are taken of. */
export function sidesOf(sinks: readonly Sink[]): SideExpr[] {
  const sides = new Set<SideExpr>();
  const seen = new Set<Expr>();
  const visit = (x: Expr): void => {
    if (seen.has(x)) return;
    seen.add(x);
    if (isSide(x)) sides.add(x);
    else for (const child of childrenOf(x)) visit(child);
  };
  for (const sink of sinks) for (const x of formulasOf(sink)) visit(x);
  return [...sides];
}

const SIDES: readonly Expr["op"][] = ["perRow", "perColumn", "rowRank", "given", "turns"];
const isSide = (x: Expr): x is SideExpr => SIDES.includes(x.op);

function childrenOf(x: Expr): readonly Expr[] {
  if (x.op === "linear") return x.terms.map((term) => term.x);
  return [...("a" in x ? [x.a] : []), ...("b" in x ? [x.b] : []), ...("c" in x ? [x.c] : []), ...("keep" in x ? [x.keep] : [])];
}

function formulasOf(sink: Sink): readonly Expr[] {
  if (sink.kind !== "reduce") return [sink.x];
  return sink.reduction.op === "dot" ? [sink.reduction.x, sink.reduction.y] : [sink.reduction.x];
}

/** The same sinks with `replace` in the place of each side value. Shared parts stay shared. */
export function replaceSides(sinks: readonly Sink[], replace: (side: SideExpr) => Expr): Sink[] {
  const done = new Map<Expr, Expr>();
  const rewrite = (x: Expr): Expr => {
    const known = done.get(x);
    if (known !== undefined) return known;
    const result = isSide(x) ? replace(x) : rebuild(x, rewrite);
    done.set(x, result);
    return result;
  };
  return sinks.map((sink) => (sink.kind === "reduce" ? { ...sink, reduction: rewriteReduction(sink.reduction, rewrite) } : { ...sink, x: rewrite(sink.x) }));
}

function rewriteReduction(reduction: Reduction, rewrite: (x: Expr) => Expr): Reduction {
  return reduction.op === "dot" ? { ...reduction, x: rewrite(reduction.x), y: rewrite(reduction.y) } : { ...reduction, x: rewrite(reduction.x) };
}

function rebuild(x: Expr, rewrite: (x: Expr) => Expr): Expr {
  if (x.op === "linear") return { ...x, terms: x.terms.map(({ weight, x: inner }) => ({ weight, x: rewrite(inner) })) };
  if (x.op === "select") return { ...x, a: rewrite(x.a), b: rewrite(x.b), c: rewrite(x.c) };
  if (x.op === "bernoulli") return { ...x, keep: rewrite(x.keep) };
  if ("b" in x) return { ...x, a: rewrite(x.a), b: rewrite(x.b) };
  return "a" in x ? { ...x, a: rewrite(x.a) } : x;
}

/** Writes a side value's elements [first, first + target.length) of a tensor with rows of `columns`; `values` gives elements of a formula. */
export async function fillSide(
  side: SideExpr,
  columns: number,
  first: number,
  target: Float32Array,
  values: (x: Expr, first: number, end: number) => Promise<Float32Array>,
  size: number,
): Promise<void> {
  if (side.op === "rowRank") {
    // Ranks are of whole rows, so pieces overlap where they end within one.
    const step = Math.max(columns, RANK_ELEMENTS - (RANK_ELEMENTS % columns));
    const piece = (at: number) => target.subarray(Math.max(0, at - first), at - first + step);
    for (let at = first - (first % columns); at < first + target.length; at += step) await fillRanks(side.a, columns, at, first, piece(at), values, size);
  } else if (side.op === "turns") {
    for (let at = 0; at < target.length; at += TURN_ELEMENTS) await fillTurns(side, first + at, target.subarray(at, at + TURN_ELEMENTS), values, size);
  } else if (side.op === "given") target.set(side.values.subarray(first, first + target.length));
  else if (side.op === "perRow") for (let i = 0; i < target.length; i++) target[i] = side.values[Math.floor((first + i) / columns)] as number;
  else for (let i = 0; i < target.length; i++) target[i] = side.values[(first + i) % columns] as number;
}

/** Elements whose ranks are worked out at a time, rounded to whole rows, which bounds the memory that takes. */
const RANK_ELEMENTS = 1 << 18;

/** Ranks from the row that begins at `at`; `target` begins there or, if that is later, with element `first`. */
async function fillRanks(
  a: Expr,
  columns: number,
  at: number,
  first: number,
  target: Float32Array,
  values: (x: Expr, first: number, end: number) => Promise<Float32Array>,
  size: number,
): Promise<void> {
  const skipped = Math.max(0, first - at);
  const end = Math.min(size, Math.ceil((at + skipped + target.length) / columns) * columns);
  const ranks = rowRanks(await values(a, at, end), columns);
  target.set(ranks.subarray(skipped, skipped + target.length));
}

/** Elements whose turns are worked out at a time, which bounds the memory that takes. */
const TURN_ELEMENTS = 1 << 18;

async function fillTurns(
  side: Extract<SideExpr, { readonly op: "turns" }>,
  first: number,
  target: Float32Array,
  values: (x: Expr, first: number, end: number) => Promise<Float32Array>,
  size: number,
): Promise<void> {
  const { start, end } = blockRange(side.block, first, first + target.length, size);
  const vectors: Float32Array[] = [];
  for (const x of side.vectors.slice(0, side.at + 1)) vectors.push(await values(x, start, end));
  target.set(takeTurns(vectors, side.block, side.count).subarray(first - start, first - start + target.length));
}

/** Most elements that side values are worked out for at a time, in whole blocks: enough to keep all threads busy. */
const MOST_SIDE_ELEMENTS = 2 ** 22;

/** Elements per range, so that side values take at most an eighth of the budget. */
export function sideRange(memoryBytes: number, sides: number): number {
  const affordable = Math.floor(memoryBytes / 8 / (4 * (sides + 1)) / BLOCK) * BLOCK;
  return Math.max(BLOCK, Math.min(MOST_SIDE_ELEMENTS, affordable));
}

/** Shared memory that the side values of a tensor of `size` elements take. */
export const sideBytes = (sides: number, size: number, memoryBytes: number): number =>
  sides === 0 ? 0 : sides * 4 * Math.min(size, sideRange(memoryBytes, sides));
