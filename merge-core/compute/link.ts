// Places a compiled program in WASM memory: instruction words with real addresses, constants.
import { constantAt, detailsAt, INSTRUCTION_BYTES, LANES_BYTES, registerAt } from "./layout.ts";
import { CODES, type Instruction, type Program } from "./program.ts";

const REGISTER_STEP = 16;
/** The first code that accumulates over blocks, as in kernels/program.ts. */
const FIRST_REDUCTION = 32;

/** The memory of a program, from its own address on. */
interface Target {
  readonly words: Int32Array;
  readonly doubles: Float64Array;
  readonly base: number;
}

/** Writes the program to `base` on, a multiple of 8. `sinkAddress` gives each sink's memory, `blocksAddress` that of its results of blocks. */
export function linkProgram(
  program: Program,
  buffer: ArrayBufferLike,
  base: number,
  sinkAddress: (sink: number) => number,
  blocksAddress: (sink: number) => number = sinkAddress,
): void {
  const { instructions, constants } = program;
  const bytes = instructions.length * INSTRUCTION_BYTES + constants.length * LANES_BYTES;
  const target = { words: new Int32Array(buffer, base, bytes / 4), doubles: new Float64Array(buffer, base, bytes / 8), base };
  const floats = new Float32Array(buffer, base, bytes / 4);
  for (let i = 0, at = constantAt(program, -1) / 4; i < constants.length; i++, at += LANES_BYTES / 4)
    floats.fill(constants[i] as number, at, at + LANES_BYTES / 4);
  for (let i = 0; i < instructions.length; i++) {
    const instruction = instructions[i] as Instruction;
    writeInstruction(target, (i * INSTRUCTION_BYTES) / 4, program, instruction);
    writeDetails(target, detailsAt(i) / 4, instruction, sinkAddress);
    if (instruction.code === CODES.histogramBoth && instruction.sink !== undefined) target.words[detailsAt(i) / 4 + 5] = blocksAddress(instruction.sink);
  }
}

/** Words 0 to 7; the others are cleared. */
function writeInstruction({ words, base }: Target, at: number, program: Program, { code, to, operands }: Instruction): void {
  words.fill(0, at, at + INSTRUCTION_BYTES / 4);
  words[at] = code;
  if (to >= 0) words[at + 1] = base + registerAt(program, to);
  for (let i = 0; i < operands.length; i++) {
    const operand = operands[i] as number;
    words[at + 2 + i * 2] = base + (operand >= 0 ? registerAt(program, operand) : constantAt(program, operand));
    words[at + 3 + i * 2] = operand >= 0 ? REGISTER_STEP : 0;
  }
}

function writeDetails({ words, doubles }: Target, at: number, instruction: Instruction, sinkAddress: (sink: number) => number): void {
  if (instruction.words !== undefined) words.set(instruction.words, at);
  if (instruction.limit !== undefined) doubles[(at + 2) / 2] = instruction.limit;
  if (instruction.sink === undefined) return;
  // Reductions keep their lanes in the details, so their memory and key stand before those.
  const place = instruction.code >= FIRST_REDUCTION ? at - 2 : at;
  words[place] = sinkAddress(instruction.sink);
  if (instruction.details !== undefined) words.set(instruction.details, place + 1);
}
