// Selections between lanes. One that has zero on a side is a single instruction, and one between truths is a truth.
import { CODES, type Instruction } from "./program.ts";
import type { FunctionWriter } from "./wasm-writer.ts";

/** The side, as the number of its operand. */
export type Side = 1 | 2;
const SIDES = [2, 1] as const;

/** The side of a selection that is always +0, if one is. */
export function zeroSideOf({ code, operands }: Instruction, constants: readonly number[]): Side | undefined {
  if (code !== CODES.select) return undefined;
  return SIDES.find((side) => {
    const operand = operands[side] ?? 0;
    return operand < 0 && Object.is(constants[-1 - operand], 0);
  });
}

/** Leaves operand 1 on the stack where the condition, all ones for true, holds, else operand 2. */
export function writeSelection(f: FunctionWriter, zeroSide: Side | undefined, operand: (i: number) => void, condition: () => void): void {
  for (const side of [1, 2]) if (side !== zeroSide) operand(side);
  condition();
  f.simd(zeroSide === undefined ? "bitselect" : zeroSide === 1 ? "andnot" : "and");
}
