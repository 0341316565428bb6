// Sums in float64 of what is in the registers of a chunk, in the order that kernels/reduce.ts defines. They have loops of their own, each over half of
// the lanes and for as many sums as a processor has registers: values are widened as they are loaded, once for all sums of a loop, and no sum
// leaves its register. What is summed so far is in memory between chunks, where the kernel that ends a block finds it.
import { constantAt, detailsAt, registerAt } from "./layout.ts";
import { CODES, type Instruction, type Operand, type Program } from "./program.ts";
import { type FunctionWriter, I32, V128 } from "./wasm-writer.ts";

/** Locals that a loop may use at a time, of the sixteen registers of the smallest processors. */
const LOCALS = 14;
/** Bytes of four elements in a register. */
const FOUR = 16;
/** A loop does this many elements at a time, four by four. */
const STEPS = [0, 1];

/** An instruction that sums, and which it is in the program. */
export interface Sum {
  readonly instruction: Instruction;
  readonly index: number;
}

/** @param base the local with the program's address @param end that of the chunk's end, less what registers are away from the address */
export function writeSums(f: FunctionWriter, program: Program, sums: readonly Sum[], base: number, end: number): void {
  for (const group of groupsOf(sums)) for (const half of [0, 1]) new SumLoop(f, program, group, half, base).write(end);
}

/** One after the other, as many as fit. */
function groupsOf(sums: readonly Sum[]): Sum[][] {
  const groups: Sum[][] = [];
  for (const sum of sums) {
    const last = groups.at(-1);
    if (last !== undefined && last.length + 1 + operandsOf([...last, sum]).length <= LOCALS) last.push(sum);
    else groups.push([sum]);
  }
  return groups;
}

const operandsOf = (sums: readonly Sum[]): Operand[] => [...new Set(sums.flatMap(({ instruction }) => instruction.operands))];

class SumLoop {
  readonly #f: FunctionWriter;
  readonly #program: Program;
  readonly #sums: readonly (Sum & { readonly local: number })[];
  readonly #half: number;
  readonly #base: number;
  /** By operand, the local with two lanes of it as float64. */
  readonly #wide: ReadonlyMap<Operand, number>;
  readonly #at: number;

  constructor(f: FunctionWriter, program: Program, sums: readonly Sum[], half: number, base: number) {
    this.#f = f;
    this.#program = program;
    this.#sums = sums.map((sum) => ({ ...sum, local: f.local(V128) }));
    this.#half = half;
    this.#base = base;
    this.#wide = new Map(operandsOf(sums).map((operand) => [operand, f.local(V128)]));
    this.#at = f.local(I32);
  }

  write(end: number): void {
    const f = this.#f;
    for (const { index, local } of this.#sums) {
      f.get(this.#base);
      f.simdMemory("load", this.#stateAt(index));
      f.set(local);
    }
    f.get(this.#base);
    f.set(this.#at);
    f.loop(() => {
      for (const step of STEPS) this.#step(step * FOUR);
      f.get(this.#at);
      f.i32(STEPS.length * FOUR);
      f.op("i32Add");
      f.tee(this.#at);
      f.get(end);
      f.op("i32LtU");
    });
    for (const { index, local } of this.#sums) {
      f.get(this.#base);
      f.get(local);
      f.simdMemory("store", this.#stateAt(index));
    }
  }

  #stateAt(index: number): number {
    return detailsAt(index) + 16 * this.#half;
  }

  /** Two elements, `offset` bytes on. */
  #step(offset: number): void {
    const f = this.#f;
    for (const [operand, local] of this.#wide) {
      f.get(operand < 0 ? this.#base : this.#at);
      f.simdMemory("load64Zero", operand < 0 ? constantAt(this.#program, operand) : registerAt(this.#program, operand) + offset + 8 * this.#half);
      f.simd("f64x2PromoteLow");
      f.set(local);
    }
    for (const sum of this.#sums) {
      f.get(sum.local);
      this.#term(sum.instruction);
      f.simd("f64x2Add");
      f.set(sum.local);
    }
  }

  /** Leaves what is added on the stack. */
  #term({ code, operands: [x, y = x] }: Instruction): void {
    const f = this.#f;
    const wide = (operand: Operand | undefined): void => f.get(this.#wide.get(operand ?? 0) as number);
    wide(x);
    if (code === CODES.sumAbs) f.simd("f64x2Abs");
    if (code !== CODES.sumSquares && code !== CODES.dot) return;
    wide(y);
    f.simd("f64x2Mul");
  }
}
