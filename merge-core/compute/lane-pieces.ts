// WebAssembly for four elements at a time: how lanes come from raw elements, are trimmed, rounded and go back. Pieces that
// codegen.ts puts together.
import { CODES } from "./program.ts";
import type { FunctionWriter, SimdOp } from "./wasm-writer.ts";

/** Operations that are one instruction of lanes. */
export const LANE_OPS: ReadonlyMap<number, SimdOp> = new Map([
  [CODES.add, "f32x4Add"],
  [CODES.sub, "f32x4Sub"],
  [CODES.mul, "f32x4Mul"],
  [CODES.div, "f32x4Div"],
  [CODES.min, "f32x4Min"],
  [CODES.max, "f32x4Max"],
  [CODES.neg, "f32x4Neg"],
  [CODES.abs, "f32x4Abs"],
  [CODES.sqrt, "f32x4Sqrt"],
]);
/** Those that give a mask: all ones for true. */
export const COMPARE_OPS: ReadonlyMap<number, SimdOp> = new Map([
  [CODES.lt, "f32x4Lt"],
  [CODES.le, "f32x4Le"],
  [CODES.gt, "f32x4Gt"],
  [CODES.ge, "f32x4Ge"],
  [CODES.eq, "f32x4Eq"],
]);
/** The last magnitude that is finite in bf16 too after rounding. */
const LAST_SAFE = 0x7f7f7fff;
const MAGNITUDE = 0x7fffffff;
/** A loop does this many elements at a time, as four vectors; raw bf16 comes and goes two vectors at once. */
export const STEP = 16;
export const VECTORS = [0, 1, 2, 3] as const;
export type Vector = (typeof VECTORS)[number];
const isFirstOfPair = (vector: Vector): boolean => vector % 2 === 0;
/** Bytes of (zeros, codes) that make four bf16 codes four floats: each code above two zero bytes. */
const WIDEN = VECTORS.map((vector) => [0, 1, 2, 3].flatMap((lane) => [0, 1, 16, 17].map((byte) => byte + 2 * lane + 8 * (vector % 2))));
/** The key that all NaNs share: above every other magnitude. */
export const NAN_KEY = 0x7f800001;

/** Where raw elements of an input or of the output are. */
export interface RawElements {
  /** Local with the address of the loop's current elements. */
  readonly pointer: number;
  /** Bytes per element: 2 for bf16, 4 for float32, `BIT` for bits. */
  readonly width: number;
  /** Local for the codes of a pair of vectors, for bf16, or for the bits of all. */
  readonly codes: number;
}

export const BIT = 1 / 8;

/** Leaves four elements on the stack: as floats, or of bits the truth, all ones for true. */
export function loadLanes(f: FunctionWriter, { pointer, width, codes }: RawElements, vector: Vector): void {
  if (width === BIT) {
    loadBits(f, pointer, codes, vector);
    return;
  }
  if (isFirstOfPair(vector) || width === 4) {
    f.get(pointer);
    f.simdMemory("load", 4 * width * vector);
  }
  if (width === 4) return;
  if (isFirstOfPair(vector)) f.set(codes);
  f.constant(0);
  f.get(codes);
  f.shuffle(WIDEN[vector] as number[]);
}

/** The bits of a step are in every lane; each asks for its own. */
function loadBits(f: FunctionWriter, pointer: number, codes: number, vector: Vector): void {
  const own = [0, 1, 2, 3].map((lane) => 1 << (4 * vector + lane));
  if (vector === 0) {
    f.get(pointer);
    f.simdMemory("load16Splat", 0);
    f.set(codes);
  }
  f.get(codes);
  f.words(own);
  f.simd("and");
  f.words(own);
  f.simd("i32x4Eq");
}

/** Stores local `x`, rounded as if it were finite. */
export function storeLanes(f: FunctionWriter, raw: RawElements, x: number, vector: Vector): void {
  if (raw.width === 2) storeBf16(f, raw, x, vector);
  else {
    f.get(raw.pointer);
    f.get(x);
    f.simdMemory("store", 16 * vector);
  }
}

/** Rounded codes: (x + 0x7fff + bit 16 of x) >> 16. A pair is stored at once. */
function storeBf16(f: FunctionWriter, { pointer, codes }: RawElements, x: number, vector: Vector): void {
  if (!isFirstOfPair(vector)) {
    f.get(pointer);
    f.get(codes);
  }
  f.get(x);
  f.constant(0x7fff);
  f.simd("i32x4Add");
  f.get(x);
  f.i32(16);
  f.simd("i32x4ShrU");
  f.constant(1);
  f.simd("and");
  f.simd("i32x4Add");
  f.i32(16);
  f.simd("i32x4ShrU");
  if (isFirstOfPair(vector)) f.set(codes);
  else {
    f.simd("i16x8NarrowU");
    f.simdMemory("store", 8 * (vector - 1));
  }
}

/** Remembers in `most` the largest magnitude of local `x`, by lane. */
export function rememberMost(f: FunctionWriter, most: number, x: number): void {
  f.get(most);
  f.get(x);
  f.constant(MAGNITUDE);
  f.simd("and");
  f.simd("i32x4MaxS");
  f.set(most);
}

/** Runs `repair` if a value just stored may have been infinite or NaN. */
export function whenNotFinite(f: FunctionWriter, most: number, repair: () => void): void {
  f.get(most);
  f.constant(LAST_SAFE);
  f.simd("i32x4GtS");
  f.simd("anyTrue");
  f.when(repair);
}

/** Locals of a trim, each the same in all lanes but the positions. */
export interface TrimLocals {
  readonly threshold: number;
  /** Positions below it drop ties with the threshold. */
  readonly limit: number;
  readonly positions: number;
}

/**
 * Leaves x where key(x) > threshold - (position < limit ? 1 : 0), else 0. A comparison's true is -1 as an integer.
 * @param hasNanKey whether the threshold is NaN: that all NaNs have one key matters to no other, which they are above
 */
export function trimLanes(f: FunctionWriter, x: () => void, { threshold, limit, positions }: TrimLocals, hasNanKey: boolean): void {
  x();
  x();
  f.constant(MAGNITUDE);
  f.simd("and");
  if (hasNanKey) {
    f.constant(NAN_KEY);
    f.simd("i32x4MinS");
  }
  f.get(threshold);
  f.get(positions);
  f.get(limit);
  f.simd("i32x4LtS");
  f.simd("i32x4Add");
  f.simd("i32x4GtS");
  f.simd("and");
}

/** local += bytes. */
export function advance(f: FunctionWriter, local: number, bytes: number): void {
  f.get(local);
  f.i32(bytes);
  f.op("i32Add");
  f.set(local);
}

/** Adds a step to all positions. */
export function advancePositions(f: FunctionWriter, positions: number): void {
  f.get(positions);
  f.constant(STEP);
  f.simd("i32x4Add");
  f.set(positions);
}
