// The larger or smaller of a value and a fixed bound. WebAssembly's own min and max answer for NaN and for the sign of zero on either side,
// which takes x86 processors eight instructions; with a bound that is neither, one that only compares gives the same.
import { CODES, type Instruction } from "./program.ts";
import type { FunctionWriter } from "./wasm-writer.ts";

/** `compared`: the value where the bound is not beyond it. `added`: the same, and zeros made positive. */
export type Extreme = "compared" | "added";

/** How a min or max can be had with less; undefined for other instructions and bounds. */
export function extremeOf({ code, operands }: Instruction, constants: readonly number[]): Extreme | undefined {
  if (code !== CODES.min && code !== CODES.max) return undefined;
  const bounds = operands.filter((operand) => operand < 0).map((operand) => constants[-1 - operand] as number);
  const [bound = Number.NaN] = bounds;
  if (bounds.length !== 1 || Number.isNaN(bound) || Object.is(bound, -0)) return undefined;
  // Of -0 and the bound +0 the larger is +0, but neither is above the other.
  return bound === 0 && code === CODES.max ? "added" : "compared";
}

/** Leaves the larger or smaller on the stack. */
export function writeExtreme(f: FunctionWriter, { code, operands }: Instruction, extreme: Extreme, operand: (i: number) => void): void {
  const bound = operands.findIndex((place) => place < 0);
  operand(1 - bound);
  operand(bound);
  f.simd(code === CODES.max ? "f32x4Pmax" : "f32x4Pmin");
  if (extreme === "compared") return;
  f.constant(0);
  f.simd("f32x4Add");
}
