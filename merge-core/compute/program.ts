// The instruction list that kernels/program.ts runs, and what it is made of: compile.ts makes it of formulas.
import type { FloatDType } from "../formats/dtypes.ts";
import type { Expr, Reduction } from "./expr.ts";
import type { SignedVectors } from "./sign-patterns.ts";

/** What a formula's inputs are made of: numbers, or one bit for each element, of which the first is the lowest. */
export type InputType = FloatDType | "BITS";

/** Type codes of kernels/dtypes.ts. Bits are known to generated code alone. */
export const DTYPE_CODES: Readonly<Record<InputType, number>> = { BF16: 0, F16: 1, F32: 2, F64: 3, F8_E4M3: 4, F8_E5M2: 5, BITS: 6 };

/** Instruction codes of kernels/program.ts. */
export const CODES = {
  ...{ add: 0, sub: 1, mul: 2, div: 3, min: 4, max: 5, lt: 6, le: 7, gt: 8, ge: 9, eq: 10, neg: 11, abs: 12, sqrt: 13 },
  ...{
    mulAdd: 14,
    select: 15,
    trim: 16,
    bernoulli: 17,
    load: 18,
    store: 19,
    histogramHigh: 20,
    histogramWindow: 21,
    keep: 22,
    histogramBoth: 23,
    signBits: 24,
    countPatterns: 25,
  },
  ...{ sum: 32, sumAbs: 33, sumSquares: 34, dot: 35, countNonZero: 36, countTies: 37, maxAbs: 38 },
};

/** Reductions that add up values, or products of values, in float64. */
export const isSum = (code: number): boolean => code >= CODES.sum && code <= CODES.dot;

/** What a pass does with values. Each kind but `store` and `keep` owns memory, given at linking: partials per block, or a histogram. */
export type Sink =
  | { readonly kind: "store"; readonly x: Expr; readonly dtype: FloatDType }
  | { readonly kind: "reduce"; readonly reduction: Reduction }
  /** Writes float32 values where the table of inputs says for this slot. */
  | { readonly kind: "keep"; readonly x: Expr; readonly slot: number }
  | { readonly kind: "countTies"; readonly x: Expr; readonly key: number }
  | { readonly kind: "histogramHigh"; readonly x: Expr }
  /** Keys in [low, low + width), of which `guess` is likely to be very frequent. */
  | { readonly kind: "histogramWindow"; readonly x: Expr; readonly low: number; readonly width: number; readonly guess: number }
  /** Both histograms of all elements, and by block how many have the key `guess`, which is in the window. */
  | { readonly kind: "histogramBoth"; readonly x: Expr; readonly low: number; readonly width: number; readonly guess: number }
  /** How many elements have which signs together. */
  | { readonly kind: "patterns"; readonly vectors: SignedVectors };

/** A register if >= 0, else the constant number -1 - n. */
export type Operand = number;

export interface Instruction {
  readonly code: number;
  /** Destination register, or -1. */
  readonly to: number;
  readonly operands: readonly Operand[];
  /** Words 8 on, as the code defines them. */
  readonly words?: readonly number[];
  /** A float64 in words 10 and 11. */
  readonly limit?: number;
  /** The sink whose memory this instruction uses, and the numbers that go with it. */
  readonly sink?: number;
  readonly details?: readonly number[];
}

export interface Program {
  /** The same object for programs that have the same code: all but the numbers that it reads from memory. */
  readonly shape: object;
  readonly instructions: readonly Instruction[];
  readonly constants: readonly number[];
  readonly registers: number;
  /** Which inputs are read. */
  readonly inputs: readonly number[];
}
