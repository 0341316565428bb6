// Reductions inside a loop over lanes: sums and counts of values that are in registers anyway, in the order that kernels/reduce.ts defines. What is
// summed so far is in memory between loops, where the kernel that ends a block finds it.
import { detailsAt } from "./layout.ts";
import { CODES } from "./program.ts";
import { type FunctionWriter, V128 } from "./wasm-writer.ts";

const MAGNITUDE = 0x7fffffff;
const NAN_KEY = 0x7f800001;
/** Bytes of (x, x) that bring the upper two lanes down. */
const UPPER = Array.from({ length: 16 }, (_, i) => 8 + (i % 8));

export const isReduction = (code: number): boolean => code >= CODES.sum;
const isCount = (code: number): boolean => code === CODES.countNonZero || code === CODES.countTies;

/** Two locals with the lower and the upper two lanes of a value as float64. */
export type WideLanes = readonly [number, number];

/** Widens the value in a local. */
export function widen(f: FunctionWriter, value: number): WideLanes {
  const wide: WideLanes = [f.local(V128), f.local(V128)];
  for (const [half, local] of wide.entries()) {
    f.get(value);
    if (half === 1) {
      f.get(value);
      f.shuffle(UPPER);
    }
    f.simd("f64x2PromoteLow");
    f.set(local);
  }
  return wide;
}

/** What a reduction gets at: its operands' four lanes, in a local, and the same as float64. */
export interface ReductionOperands {
  lanes(operand: number): number;
  wide(operand: number): WideLanes;
}

export class LaneReduction {
  readonly #f: FunctionWriter;
  readonly #code: number;
  readonly #program: number;
  readonly #state: number;
  /** Of sums the lower and upper lanes, of others the first alone. */
  readonly #sums: WideLanes;
  readonly #key: number;

  /** Sets up what the loop needs. @param program the local with the program's address @param index the instruction's */
  constructor(f: FunctionWriter, code: number, program: number, index: number) {
    this.#f = f;
    this.#code = code;
    this.#program = program;
    this.#state = detailsAt(index);
    this.#sums = [f.local(V128), f.local(V128)];
    this.#key = f.local(V128);
    for (const [half, sum] of this.#sums.entries()) {
      if (code === CODES.maxAbs) f.constant(0);
      else this.#load(half);
      f.set(sum);
    }
    if (code !== CODES.countTies) return;
    f.get(program);
    // The word before the lanes.
    f.simdMemory("load32Splat", this.#state - 4);
    f.set(this.#key);
  }

  /** Four more elements. */
  add(operands: ReductionOperands): void {
    if (isCount(this.#code)) this.#count(operands.lanes(0));
    else if (this.#code === CODES.maxAbs) this.#keepMost(operands.lanes(0));
    else this.#sum(operands);
  }

  /** Leaves the lanes in memory. */
  finish(): void {
    const f = this.#f;
    const [first, second] = this.#sums;
    if (this.#code === CODES.maxAbs) {
      for (const [half, local] of widen(f, first).entries()) this.#store(half, () => this.#larger(half, local));
    } else {
      this.#store(0, () => f.get(first));
      if (!isCount(this.#code)) this.#store(1, () => f.get(second));
    }
  }

  #load(half: number): void {
    this.#f.get(this.#program);
    this.#f.simdMemory("load", this.#state + 16 * half);
  }

  #store(half: number, value: () => void): void {
    this.#f.get(this.#program);
    value();
    this.#f.simdMemory("store", this.#state + 16 * half);
  }

  #larger(half: number, local: number): void {
    this.#load(half);
    this.#f.get(local);
    this.#f.simd("f64x2Max");
  }

  /** Magnitudes order as the integers do that have their bits, NaN above all. */
  #keepMost(x: number): void {
    const [most] = this.#sums;
    this.#f.get(most);
    this.#f.get(x);
    this.#f.constant(MAGNITUDE);
    this.#f.simd("and");
    this.#f.simd("i32x4MaxS");
    this.#f.set(most);
  }

  /** A comparison's true is -1. */
  #count(x: number): void {
    const f = this.#f;
    const [count] = this.#sums;
    f.get(count);
    f.get(x);
    if (this.#code === CODES.countTies) {
      f.constant(MAGNITUDE);
      f.simd("and");
      f.constant(NAN_KEY);
      f.simd("i32x4MinS");
      f.get(this.#key);
      f.simd("i32x4Eq");
    } else {
      f.constant(0);
      f.simd("f32x4Ne");
    }
    f.simd("i32x4Sub");
    f.set(count);
  }

  /** Lanes with their magnitudes, as float64. */
  #wideMagnitude(x: number): WideLanes {
    const magnitude = this.#f.local(V128);
    this.#f.get(x);
    this.#f.constant(MAGNITUDE);
    this.#f.simd("and");
    this.#f.set(magnitude);
    return widen(this.#f, magnitude);
  }

  #sum(operands: ReductionOperands): void {
    const f = this.#f;
    const x = this.#code === CODES.sumAbs ? this.#wideMagnitude(operands.lanes(0)) : operands.wide(0);
    const y = this.#code === CODES.dot ? operands.wide(1) : x;
    for (const half of [0, 1] as const) {
      f.get(this.#sums[half]);
      f.get(x[half]);
      if (this.#code === CODES.sumSquares || this.#code === CODES.dot) {
        f.get(y[half]);
        f.simd("f64x2Mul");
      }
      f.simd("f64x2Add");
      f.set(this.#sums[half]);
    }
  }
}
