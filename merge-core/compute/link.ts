// Places a compiled program in WASM memory: instruction words with real addresses, constants.
import { constantAt, detailsAt, INSTRUCTION_BYTES, registerAt } from "./layout.ts";
import type { Instruction, Program } from "./program.ts";

const REGISTER_STEP = 16;
/** The first code that accumulates over blocks, as in kernels/program.ts. */
const FIRST_REDUCTION = 32;

/** Writes the program to `base` on. `sinkAddress` gives each sink's memory. */
export function linkProgram(program: Program, buffer: ArrayBufferLike, base: number, sinkAddress: (sink: number) => number): void {
  const view = new DataView(buffer);
  program.constants.forEach((value, i) => {
    writeLanes(view, base + constantAt(program, -1 - i), value);
  });
  program.instructions.forEach((instruction, i) => {
    const at = base + i * INSTRUCTION_BYTES;
    new Uint8Array(buffer, at, INSTRUCTION_BYTES).fill(0);
    view.setInt32(at, instruction.code, true);
    if (instruction.to >= 0) view.setUint32(at + 4, base + registerAt(program, instruction.to), true);
    writeOperands(view, at, base, program, instruction);
    writeDetails(view, base + detailsAt(i), instruction, sinkAddress);
  });
}

function writeLanes(view: DataView, at: number, value: number): void {
  for (let lane = 0; lane < 4; lane++) view.setFloat32(at + lane * 4, value, true);
}

function writeOperands(view: DataView, at: number, base: number, program: Program, instruction: Instruction): void {
  instruction.operands.forEach((operand, i) => {
    view.setUint32(at + 8 + i * 8, base + (operand >= 0 ? registerAt(program, operand) : constantAt(program, operand)), true);
    view.setUint32(at + 12 + i * 8, operand >= 0 ? REGISTER_STEP : 0, true);
  });
}

function writeDetails(view: DataView, at: number, instruction: Instruction, sinkAddress: (sink: number) => number): void {
  instruction.words?.forEach((word, i) => {
    view.setUint32(at + i * 4, word, true);
  });
  if (instruction.limit !== undefined) view.setFloat64(at + 8, instruction.limit, true);
  if (instruction.sink === undefined) return;
  // Reductions keep their lanes in the details, so their memory and key stand before those.
  const place = instruction.code >= FIRST_REDUCTION ? at - 8 : at;
  view.setUint32(place, sinkAddress(instruction.sink), true);
  instruction.details?.forEach((detail, i) => {
    view.setUint32(place + 4 + i * 4, detail, true);
  });
}
