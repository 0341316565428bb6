// Counts and maxima inside a loop over lanes, of values that are in registers anyway. What is counted so far is in memory between loops, where the
// kernel that ends a block finds it.
import { detailsAt } from "./layout.ts";
import { CODES } from "./program.ts";
import { type FunctionWriter, V128 } from "./wasm-writer.ts";

const MAGNITUDE = 0x7fffffff;
const NAN_KEY = 0x7f800001;
/** Bytes of (x, x) that bring the upper two lanes down. */
const UPPER = Array.from({ length: 16 }, (_, i) => 8 + (i % 8));

export const isReduction = (code: number): boolean => code >= CODES.sum;

/** Two locals with the lower and the upper two lanes of a value as float64. */
type WideLanes = readonly [number, number];

/** Widens the value in a local. */
function widen(f: FunctionWriter, value: number): WideLanes {
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

export class LaneReduction {
  readonly #f: FunctionWriter;
  readonly #code: number;
  readonly #program: number;
  readonly #state: number;
  /** Four lanes. */
  readonly #result: number;
  readonly #key: number;

  /** Sets up what the loop needs. @param program the local with the program's address @param index the instruction's */
  constructor(f: FunctionWriter, code: number, program: number, index: number) {
    this.#f = f;
    this.#code = code;
    this.#program = program;
    this.#state = detailsAt(index);
    this.#result = f.local(V128);
    this.#key = f.local(V128);
    if (code === CODES.maxAbs) f.constant(0);
    else this.#load(0);
    f.set(this.#result);
    if (code !== CODES.countTies) return;
    f.get(program);
    // The word before the lanes.
    f.simdMemory("load32Splat", this.#state - 4);
    f.set(this.#key);
  }

  /** Four more elements, in a local. */
  add(x: number): void {
    if (this.#code === CODES.maxAbs) this.#keepMost(x);
    else this.#count(x);
  }

  /** Leaves the lanes in memory. */
  finish(): void {
    if (this.#code !== CODES.maxAbs) this.#store(0, () => this.#f.get(this.#result));
    else for (const [half, local] of widen(this.#f, this.#result).entries()) this.#store(half, () => this.#larger(half, local));
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
    this.#f.get(this.#result);
    this.#f.get(x);
    this.#f.constant(MAGNITUDE);
    this.#f.simd("and");
    this.#f.simd("i32x4MaxS");
    this.#f.set(this.#result);
  }

  /** A comparison's true is -1. */
  #count(x: number): void {
    const f = this.#f;
    f.get(this.#result);
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
    f.set(this.#result);
  }
}
