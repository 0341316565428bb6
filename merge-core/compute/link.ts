// Places a compiled program in WASM memory: instruction words with real addresses, constants, registers.
import { DTYPE_CODES, type Instruction, type Operand, type Program } from "./program.ts";

const INSTRUCTION_BYTES = 64;
/** Kernels work on this many elements at a time; the same number is in kernels/program.ts. */
const CHUNK = 1024;
/** Two cache lines more than the values need: registers a page apart would compete for the same cache sets. */
const REGISTER_BYTES = CHUNK * 4 + 128;
const LANES_BYTES = 16;
const TERM_BYTES = 32;
const SPILL_BYTES = 64;
const REGISTER_STEP = 16;
/** The first code that accumulates over blocks, as in kernels/program.ts. */
const FIRST_REDUCTION = 32;

/** Memory that a program needs while it runs, apart from its sinks and buffers; a multiple of 64. */
export function programBytes(program: Program): number {
  const fused = program.instructions.reduce((sum, { fused: f }) => sum + (f === undefined ? 0 : f.terms.length * TERM_BYTES + SPILL_BYTES + LANES_BYTES), 0);
  const bytes = program.instructions.length * INSTRUCTION_BYTES + program.constants.length * LANES_BYTES + program.registers * REGISTER_BYTES + fused;
  return Math.ceil(bytes / 64) * 64;
}

/** Writes the program to `base` on. `sinkAddress` gives each sink's memory. */
export function linkProgram(program: Program, buffer: ArrayBufferLike, base: number, sinkAddress: (sink: number) => number): void {
  const constants = base + program.instructions.length * INSTRUCTION_BYTES;
  const registers = constants + program.constants.length * LANES_BYTES;
  let terms = registers + program.registers * REGISTER_BYTES;
  const view = new DataView(buffer);
  program.constants.forEach((value, i) => {
    writeLanes(view, constants + i * LANES_BYTES, value);
  });
  program.instructions.forEach((instruction, i) => {
    const at = base + i * INSTRUCTION_BYTES;
    new Uint8Array(buffer, at, INSTRUCTION_BYTES).fill(0);
    view.setInt32(at, instruction.code, true);
    if (instruction.to >= 0) view.setUint32(at + 4, registers + instruction.to * REGISTER_BYTES, true);
    writeOperands(view, at, instruction.operands, constants, registers);
    writeDetails(view, at, instruction, sinkAddress);
    if (instruction.fused !== undefined) terms = writeFused(view, at, instruction.fused, terms);
  });
}

function writeLanes(view: DataView, at: number, value: number): void {
  for (let lane = 0; lane < 4; lane++) view.setFloat32(at + lane * 4, value, true);
}

function writeOperands(view: DataView, at: number, operands: readonly Operand[], constants: number, registers: number): void {
  operands.forEach((operand, i) => {
    const address = operand >= 0 ? registers + operand * REGISTER_BYTES : constants + (-1 - operand) * LANES_BYTES;
    view.setUint32(at + 8 + i * 8, address, true);
    view.setUint32(at + 12 + i * 8, operand >= 0 ? REGISTER_STEP : 0, true);
  });
}

function writeDetails(view: DataView, at: number, instruction: Instruction, sinkAddress: (sink: number) => number): void {
  instruction.words?.forEach((word, i) => {
    view.setUint32(at + 32 + i * 4, word, true);
  });
  if (instruction.limit !== undefined) view.setFloat64(at + 40, instruction.limit, true);
  if (instruction.sink === undefined) return;
  // Reductions keep their lanes in words 8 on, so their memory and key stand before those.
  const place = at + (instruction.code >= FIRST_REDUCTION ? 24 : 32);
  view.setUint32(place, sinkAddress(instruction.sink), true);
  view.setUint32(place + 4, instruction.detail ?? 0, true);
}

/** @returns the address after the terms. */
function writeFused(view: DataView, at: number, fused: NonNullable<Instruction["fused"]>, terms: number): number {
  fused.terms.forEach(({ slot, weight }, i) => {
    view.setInt32(terms + i * TERM_BYTES, slot, true);
    writeLanes(view, terms + i * TERM_BYTES + 16, weight);
  });
  const scale = terms + fused.terms.length * TERM_BYTES + SPILL_BYTES;
  writeLanes(view, scale, fused.scale ?? 1);
  const words = [DTYPE_CODES[fused.inType], DTYPE_CODES[fused.outType], terms, fused.terms.length, fused.base ?? -1, fused.scale === undefined ? 0 : scale];
  words.forEach((word, i) => {
    view.setInt32(at + 32 + i * 4, word, true);
  });
  return scale + LANES_BYTES;
}
