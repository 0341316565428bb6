// Where the parts of a program lie in memory, in bytes from its address: instructions, constants, registers.
import type { Operand, Program } from "./program.ts";

export const INSTRUCTION_BYTES = 64;
/** Elements of a register; kernels work on at most this many at a time. A dozen registers stay in the first-level cache. */
export const CHUNK = 512;
/** Two cache lines more than the values need: registers a page apart would compete for the same cache sets. */
const REGISTER_BYTES = CHUNK * 4 + 128;
/** A constant is kept as four equal lanes. */
export const LANES_BYTES = 16;

type Parts = Pick<Program, "instructions" | "constants" | "registers">;

/** What an instruction holds besides its operands. */
export const detailsAt = (index: number): number => index * INSTRUCTION_BYTES + 32;

export const constantAt = ({ instructions }: Parts, operand: Operand): number => instructions.length * INSTRUCTION_BYTES + (-1 - operand) * LANES_BYTES;

export const registerAt = ({ instructions, constants }: Parts, register: number): number =>
  instructions.length * INSTRUCTION_BYTES + constants.length * LANES_BYTES + register * REGISTER_BYTES;

/** All of it, a multiple of 64. */
export const programBytes = (program: Parts): number => Math.ceil(registerAt(program, program.registers) / 64) * 64;
