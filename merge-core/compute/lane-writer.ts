// Writes what a loop does with four elements: values in locals from one instruction to the next, and in registers where a later loop needs them.
import { extremeOf, writeExtreme } from "./lane-extremes.ts";
import type { Place } from "./lane-instructions.ts";
import { BIT, COMPARE_OPS, LANE_OPS, loadLanes, NAN_KEY, type RawElements, rememberMost, storeLanes, trimLanes, type Vector } from "./lane-pieces.ts";
import { writeSelection } from "./lane-selections.ts";
import { registerAt } from "./layout.ts";
import { CODES, type Operand, type Program } from "./program.ts";
import { type FunctionWriter, V128 } from "./wasm-writer.ts";

/** 1.0 as float32 bits. */
const ONE = 0x3f800000;

/** The local that holds four lanes of a value, and if that is 1 or 0 for a truth the one that holds it as all ones or zeros. */
interface Lanes {
  readonly value: number;
  readonly mask?: number;
}

type Values = Map<Operand, Lanes>;

const rawOf = ({ pointer = 0, width, codes }: Place): RawElements => ({ pointer, width, codes });

/** What the loops of a function share. */
export interface LoopLocals {
  /** The program's address plus the byte offset of the current element in a register. */
  readonly at: number;
  /** Each vector's positions in the chunk. */
  readonly positions: readonly number[];
  /** The program's constants, four lanes each. */
  readonly constants: readonly number[];
}

export class LaneWriter {
  readonly #f: FunctionWriter;
  readonly #program: Program;
  readonly #locals: LoopLocals;

  constructor(f: FunctionWriter, program: Program, locals: LoopLocals) {
    this.#f = f;
    this.#program = program;
    this.#locals = locals;
  }

  /** All instructions for four elements. Each vector goes through on its own: few values are alive at a time. */
  write(places: readonly Place[], vector: Vector, live: ReadonlySet<number>, keepsStored: boolean): void {
    const f = this.#f;
    const values: Values = new Map();
    for (const [i, place] of places.entries()) {
      const { to, operands } = place.instruction;
      if (place.most !== undefined) {
        this.#store(place, place.most, operands[0] as Operand, values, vector, keepsStored);
        continue;
      }
      if (place.instruction.code === CODES.keep) {
        f.get(place.pointer ?? 0);
        this.#operand(operands[0] as Operand, values, vector);
        f.simdMemory("store", 16 * vector);
        continue;
      }
      if (place.reduction !== undefined) {
        place.reduction.add(this.#lanesOf(operands[0] as Operand, values, vector).value);
        continue;
      }
      const lanes = this.#finish(place, values, vector);
      values.set(to, lanes);
      const replaced = places.slice(i + 1).some((later) => later.instruction.to === to);
      if (!replaced && live.has(to)) this.#keep(to, lanes.value, vector);
    }
  }

  #keep(register: number, value: number, vector: Vector): void {
    this.#f.get(this.#locals.at);
    this.#f.get(value);
    this.#f.simdMemory("store", registerAt(this.#program, register) + 16 * vector);
  }

  /** Rounds as if all were finite, remembers the largest magnitude, and keeps the values, if told to, in case that was wrong. */
  #store(place: Place, most: number, operand: Operand, values: Values, vector: Vector, keep: boolean): void {
    const f = this.#f;
    const x = values.get(operand)?.value ?? f.local(V128);
    if (!values.has(operand)) {
      this.#operand(operand, values, vector);
      f.set(x);
    }
    if (keep) this.#keep(operand, x, vector);
    rememberMost(f, most, x);
    storeLanes(f, rawOf(place), x, vector);
  }

  /** Computes a value; of a truth also the mask, for selections (what is not used, the engine leaves out). */
  #finish(place: Place, values: Values, vector: Vector): Lanes {
    const f = this.#f;
    const value = f.local(V128);
    this.#compute(place, values, vector);
    f.set(value);
    if (!this.#isTruth(place, values)) return { value };
    const number = f.local(V128);
    f.get(value);
    f.constant(ONE);
    f.simd("and");
    f.set(number);
    return { value: number, mask: value };
  }

  #isTruth({ instruction: { code, operands }, width, pointer, zeroSide }: Place, values: Values): boolean {
    if (pointer !== undefined) return width === BIT;
    if (code !== CODES.select) return COMPARE_OPS.has(code);
    return operands.every((operand, i) => i === 0 || i === zeroSide || values.get(operand)?.mask !== undefined);
  }

  /** Leaves the instruction's value on the stack, of a truth the mask. */
  #compute(place: Place, values: Values, vector: Vector): void {
    const f = this.#f;
    const { code, operands } = place.instruction;
    const operand = (i: number): void => this.#operand(operands[i] as Operand, values, vector);
    const extreme = extremeOf(place.instruction, this.#program.constants);
    if (place.pointer !== undefined) loadLanes(f, rawOf(place), vector);
    else if (place.limit !== undefined) {
      const locals = { threshold: place.threshold, limit: place.limit, positions: this.#locals.positions[vector] as number };
      trimLanes(f, () => operand(0), locals, place.instruction.words?.[0] === NAN_KEY);
    } else if (code === CODES.mulAdd) {
      for (const i of [0, 1, 2]) operand(i);
      f.simd("f32x4Mul");
      f.simd("f32x4Add");
    } else if (code === CODES.select) {
      const mask = (i: number): void => f.get(values.get(operands[i] as Operand)?.mask as number);
      writeSelection(f, place.zeroSide, this.#isTruth(place, values) ? mask : operand, () => this.#condition(operands[0] as Operand, values, vector));
    } else if (extreme !== undefined) writeExtreme(f, place.instruction, extreme, operand);
    else {
      operands.forEach((_, i) => {
        operand(i);
      });
      const op = LANE_OPS.get(code) ?? COMPARE_OPS.get(code);
      if (op !== undefined) f.simd(op);
    }
  }

  /** A mask of the lanes that are not zero. */
  #condition(operand: Operand, values: Values, vector: Vector): void {
    const mask = values.get(operand)?.mask;
    if (mask !== undefined) this.#f.get(mask);
    else {
      this.#operand(operand, values, vector);
      this.#f.constant(0);
      this.#f.simd("f32x4Ne");
    }
  }

  #operand(operand: Operand, values: Values, vector: Vector): void {
    const value = operand < 0 ? this.#locals.constants[-1 - operand] : values.get(operand)?.value;
    if (value !== undefined) this.#f.get(value);
    else {
      this.#f.get(this.#locals.at);
      this.#f.simdMemory("load", registerAt(this.#program, operand) + 16 * vector);
    }
  }

  /** An operand in a local, where it stays for those that use it after. */
  #lanesOf(operand: Operand, values: Values, vector: Vector): Lanes {
    const known = values.get(operand);
    if (known !== undefined) return known;
    const lanes = { value: this.#f.local(V128) };
    this.#operand(operand, values, vector);
    this.#f.set(lanes.value);
    values.set(operand, lanes);
    return lanes;
  }
}
