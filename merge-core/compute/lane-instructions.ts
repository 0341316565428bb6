// Instructions that are done four elements at a time inside of a loop.
import { BIT, COMPARE_OPS, LANE_OPS } from "./lane-pieces.ts";
import type { LaneReduction } from "./lane-reductions.ts";
import type { Side } from "./lane-selections.ts";
import { CODES, DTYPE_CODES, type Instruction } from "./program.ts";

/** Bytes per element of types that fit lanes as they are. */
export const WIDTHS: ReadonlyMap<number, number> = new Map([
  [DTYPE_CODES.BF16, 2],
  [DTYPE_CODES.F32, 4],
  [DTYPE_CODES.BITS, BIT],
]);

export const isPlainLoad = ({ code, words }: Instruction): boolean => code === CODES.load && WIDTHS.has(words?.[1] ?? -1);

/** A store that is a matter of a few lane operations while all values are finite. */
export function isPlainStore({ code, words, operands }: Instruction): boolean {
  return code === CODES.store && WIDTHS.has(words?.[1] ?? -1) && (operands[0] ?? -1) >= 0;
}

export function isLaneWise(instruction: Instruction): boolean {
  const { code } = instruction;
  if (isPlainLoad(instruction) || isPlainStore(instruction) || code === CODES.keep) return true;
  return LANE_OPS.has(code) || COMPARE_OPS.has(code) || code === CODES.mulAdd || code === CODES.select || code === CODES.trim;
}

/** A lane-wise instruction and the locals that it uses in its loop. */
export interface Place {
  readonly instruction: Instruction;
  readonly index: number;
  /** For loads and whatever writes elements: where the current ones are, and bytes per element. */
  readonly pointer: number | undefined;
  readonly width: number;
  /** For bf16 loads and bits the current codes, for bf16 stores those of a pair's first vector. */
  readonly codes: number;
  /** For trims. */
  readonly threshold: number;
  readonly limit: number | undefined;
  /** For stores: the largest magnitude so far, by lane. */
  readonly most: number | undefined;
  readonly reduction: LaneReduction | undefined;
  /** For selections. */
  readonly zeroSide: Side | undefined;
}
