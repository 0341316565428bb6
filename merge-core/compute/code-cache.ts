// Compiled formulas by their bytes: the same formula with other weights and thresholds is the same code.
import { generate } from "./codegen.ts";
import type { GeneratedCode } from "./instance.ts";
import type { Program } from "./program.ts";

/** A merge uses a handful of formulas; forgetting one costs a millisecond. */
const MAX_MODULES = 64;

const known = new Map<string, GeneratedCode>();
let nextId = 0;

export function codeOf(program: Program): GeneratedCode {
  const bytes = generate(program);
  const key = Buffer.from(bytes).toString("latin1");
  const found = known.get(key);
  if (found !== undefined) return found;
  const code = { id: nextId++, module: new WebAssembly.Module(bytes) };
  if (known.size >= MAX_MODULES) known.delete(known.keys().next().value ?? key);
  known.set(key, code);
  return code;
}
