// Turns a compiled program into a WASM function of its own. Runs of element-wise operations become one loop that keeps every
// value in a SIMD register; what needs more than lanes (odd types, random masks, histograms, reductions, rounding on save)
// stays a call of the kernels. Constants and thresholds are read from memory, so that one function serves every tensor that
// is merged by the same formula.
import { MAX_PAGES } from "./instance.ts";
import { isLaneWise, isPlainLoad, isPlainStore, type Place, WIDTHS } from "./lane-instructions.ts";
import { advance, advancePositions, BIT, STEP, VECTORS, whenNotFinite } from "./lane-pieces.ts";
import { isReduction, LaneReduction } from "./lane-reductions.ts";
import { zeroSideOf } from "./lane-selections.ts";
import { type Sum, writeSums } from "./lane-sums.ts";
import { LaneWriter } from "./lane-writer.ts";
import { CHUNK, constantAt, detailsAt, INSTRUCTION_BYTES } from "./layout.ts";
import { CODES, type Instruction, isSum, type Program } from "./program.ts";
import { F64, FunctionWriter, I32, V128, writeModule } from "./wasm-writer.ts";

/** Parameters of the function. */
const [PROGRAM, INPUTS, OUTPUT, COUNT, FIRST] = [0, 1, 2, 3, 4];
const RUN = { parameters: [I32, I32, I32, I32, F64], results: [I32] };
const IMPORTS = [
  { name: "runInstruction", parameters: [I32, I32, I32, I32, I32, I32, F64], results: [I32] },
  { name: "relativeLimit", parameters: [F64, F64, I32], results: [I32] },
];
const [RUN_INSTRUCTION, RELATIVE_LIMIT] = [0, 1];

/** The bytes of a module whose function `run(program, inputs, output, n, first)` does what the program says; see kernels/program.ts. */
export function generate(program: Program): Uint8Array<ArrayBuffer> {
  return writeModule(IMPORTS, RUN, new Generator(program).body(), MAX_PAGES);
}

class Generator {
  readonly #program: Program;
  readonly #f = new FunctionWriter(RUN.parameters.length);
  readonly #from = this.#f.local(I32);
  readonly #size = this.#f.local(I32);
  readonly #bad = this.#f.local(I32);
  readonly #start = this.#f.local(F64);
  /** The program's address plus the byte offset of the current element in a register. */
  readonly #at = this.#f.local(I32);
  readonly #end = this.#f.local(I32);
  /** Each vector's positions in the chunk. */
  readonly #positions = VECTORS.map(() => this.#f.local(V128));
  readonly #constants: readonly number[];
  readonly #writer: LaneWriter;

  constructor(program: Program) {
    this.#program = program;
    this.#constants = program.constants.map(() => this.#f.local(V128));
    this.#writer = new LaneWriter(this.#f, program, { at: this.#at, positions: this.#positions, constants: this.#constants });
  }

  body(): number[] {
    const f = this.#f;
    this.#constants.forEach((local, i) => {
      f.get(PROGRAM);
      f.simdMemory("load", constantAt(this.#program, -1 - i));
      f.set(local);
    });
    f.loop(() => {
      this.#startChunk();
      this.#chunks();
      f.get(this.#from);
      f.i32(CHUNK);
      f.op("i32Add");
      f.set(this.#from);
      f.get(this.#from);
      f.get(COUNT);
      f.op("i32LtS");
    });
    f.get(this.#bad);
    return f.body();
  }

  /** size = min(CHUNK, n - from); start = first + from. */
  #startChunk(): void {
    const f = this.#f;
    f.get(COUNT);
    f.get(this.#from);
    f.op("i32Sub");
    f.set(this.#size);
    f.i32(CHUNK);
    f.get(this.#size);
    f.i32(CHUNK);
    f.get(this.#size);
    f.op("i32LtS");
    f.op("select");
    f.set(this.#size);
    f.get(FIRST);
    f.get(this.#from);
    f.op("f64FromI32");
    f.op("f64Add");
    f.set(this.#start);
  }

  /** Reductions join loops over whole steps; only kernels can end within one. A loop with a store may be run twice, which no sum may. */
  #chunks(): void {
    const f = this.#f;
    const { instructions } = this.#program;
    const canJoin = instructions.some(({ code }) => isReduction(code)) && !instructions.some(({ code }) => code === CODES.store);
    if (!canJoin) this.#chunk(false);
    for (const joins of canJoin ? [true, false] : []) {
      f.get(this.#size);
      f.i32(STEP - 1);
      f.op("i32And");
      if (joins) f.op("i32Eqz");
      f.when(() => this.#chunk(joins));
    }
  }

  #chunk(joins: boolean): void {
    const { instructions } = this.#program;
    const isInLoop = (instruction: Instruction): boolean => isLaneWise(instruction) || (joins && isReduction(instruction.code) && !isSum(instruction.code));
    for (let i = 0; i < instructions.length; ) {
      let end = i;
      // A store may have to be done again from its register, so nothing after it may use that in the same loop.
      while (end < instructions.length && isInLoop(instructions[end] as Instruction) && !(end > i && isPlainStore(instructions[end - 1] as Instruction))) end++;
      if (joins && isSum((instructions[i] as Instruction).code)) {
        while (end < instructions.length && isSum((instructions[end] as Instruction).code)) end++;
        this.#sums(instructions.slice(i, end).map((instruction, k) => ({ instruction, index: i + k })));
        i = end;
      } else if (end === i) this.#call(i++);
      else {
        this.#lanes(i, end);
        i = end;
      }
    }
  }

  #call(index: number): void {
    this.#callFor(index, () => {
      for (const local of [this.#from, this.#size]) this.#f.get(local);
    });
  }

  /** Ends a reduction's block, if it ends here, by the kernel on none of the elements. */
  #callAtEnd(index: number): void {
    const f = this.#f;
    this.#callFor(index, () => {
      f.get(this.#from);
      f.get(this.#size);
      f.op("i32Add");
      f.i32(0);
    });
  }

  #callFor(index: number, range: () => void): void {
    const f = this.#f;
    f.get(PROGRAM);
    f.i32(index * INSTRUCTION_BYTES);
    f.op("i32Add");
    for (const local of [INPUTS, OUTPUT]) f.get(local);
    range();
    for (const local of [COUNT, this.#start]) f.get(local);
    f.call(RUN_INSTRUCTION);
    f.get(this.#bad);
    f.op("i32Add");
    f.set(this.#bad);
  }

  /**
   * One loop over the chunk for instructions `from` to `end`. A loop that leaves nothing in registers can be run twice: it stores
   * without keeping what it stored, and is done again, `careful`, for the rare chunk with values that are not finite.
   */
  #lanes(from: number, end: number, careful = false): void {
    const f = this.#f;
    const live = this.#usedFrom(end);
    const keepsStored = careful || live.size > 0;
    const places = this.#program.instructions.slice(from, end).map((instruction, i) => this.#prepare(instruction, from + i));
    this.#startLoop();
    f.loop(() => {
      for (const vector of VECTORS) this.#writer.write(places, vector, live, keepsStored);
      for (const place of places) if (place.pointer !== undefined) advance(f, place.pointer, STEP * place.width);
      if (places.some((place) => place.limit !== undefined)) for (const position of this.#positions) advancePositions(f, position);
      advance(f, this.#at, STEP * 4);
      f.get(this.#at);
      f.get(this.#end);
      f.op("i32LtU");
    });
    for (const { most, index, reduction } of places) {
      reduction?.finish();
      if (reduction !== undefined) this.#callAtEnd(index);
      if (most !== undefined) whenNotFinite(f, most, () => (keepsStored ? this.#call(index) : this.#lanes(from, end, true)));
    }
  }

  #startLoop(): void {
    const f = this.#f;
    for (const vector of VECTORS) {
      f.lanes(4 * vector);
      f.set(this.#positions[vector] as number);
    }
    f.get(PROGRAM);
    f.set(this.#at);
    this.#setEnd();
  }

  /** end = the program's address + the bytes of the chunk in a register. */
  #setEnd(): void {
    this.#f.get(PROGRAM);
    this.#bytes(this.#size, 2);
    this.#f.op("i32Add");
    this.#f.set(this.#end);
  }

  /** Sums over the chunk, which ends with a whole step. */
  #sums(sums: readonly Sum[]): void {
    this.#setEnd();
    writeSums(this.#f, this.#program, sums, PROGRAM, this.#end);
    for (const { index } of sums) this.#callAtEnd(index);
  }

  /** Sets up what an instruction needs before the loop. */
  #prepare(instruction: Instruction, index: number): Place {
    const isTrim = instruction.code === CODES.trim;
    const isStore = isPlainStore(instruction);
    const width = WIDTHS.get(instruction.words?.[1] ?? -1) ?? 4;
    return {
      instruction,
      index,
      pointer: isPlainLoad(instruction) || isStore || instruction.code === CODES.keep ? this.#pointer(instruction, width) : undefined,
      width,
      codes: this.#f.local(V128),
      threshold: isTrim ? this.#threshold(index) : 0,
      limit: isTrim ? this.#tieLimit(index) : undefined,
      most: isStore ? this.#zero() : undefined,
      reduction: isReduction(instruction.code) ? new LaneReduction(this.#f, instruction.code, PROGRAM, index) : undefined,
      zeroSide: zeroSideOf(instruction, this.#program.constants),
    };
  }

  /** Registers read by instructions from `index` on before they are written again. */
  #usedFrom(index: number): ReadonlySet<number> {
    const used = new Set<number>();
    const written = new Set<number>();
    for (const { to, operands } of this.#program.instructions.slice(index)) {
      for (const operand of operands) if (operand >= 0 && !written.has(operand)) used.add(operand);
      if (to >= 0) written.add(to);
    }
    return used;
  }

  /** Leaves local << shift on the stack. */
  #bytes(local: number, shift: number): void {
    this.#f.get(local);
    this.#f.i32(shift);
    this.#f.op("i32Shl");
  }

  /** A local that points at the chunk's first raw element of an input, or of the output. */
  #pointer({ code, words }: Instruction, width: number): number {
    const pointer = this.#f.local(I32);
    if (code === CODES.store) this.#f.get(OUTPUT);
    else {
      this.#f.get(INPUTS);
      this.#f.loadI32((words?.[0] ?? 0) * 4);
    }
    if (width !== BIT) this.#bytes(this.#from, Math.log2(width));
    else {
      this.#f.get(this.#from);
      this.#f.i32(3);
      this.#f.op("i32ShrU");
    }
    this.#f.op("i32Add");
    this.#f.set(pointer);
    return pointer;
  }

  #zero(): number {
    const local = this.#f.local(V128);
    this.#f.constant(0);
    this.#f.set(local);
    return local;
  }

  /** A local with the position in this chunk from which ties are dropped, in every lane. */
  #tieLimit(index: number): number {
    const f = this.#f;
    const limit = f.local(V128);
    f.get(PROGRAM);
    f.loadF64(detailsAt(index) + 8);
    f.get(this.#start);
    f.get(this.#size);
    f.call(RELATIVE_LIMIT);
    f.simd("i32x4Splat");
    f.set(limit);
    return limit;
  }

  /** A local with a trim's threshold key in every lane. */
  #threshold(index: number): number {
    const threshold = this.#f.local(V128);
    this.#f.get(PROGRAM);
    this.#f.simdMemory("load32Splat", detailsAt(index));
    this.#f.set(threshold);
    return threshold;
  }
}
