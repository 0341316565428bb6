// Compiled formulas by what their code depends on: the same formula with other weights and thresholds is the same code.
import { codeKey, generate } from "./codegen.ts";
import type { GeneratedCode } from "./instance.ts";
import type { Program } from "./program.ts";

/** A merge uses a handful of formulas; forgetting one costs a millisecond. */
const MAX_MODULES = 64;

const known = new Map<string, GeneratedCode>();
let nextId = 0;

export function codeOf(program: Program): GeneratedCode {
  const key = codeKey(program);
  const found = known.get(key);
  if (found !== undefined) return found;
  const code = { id: nextId++, module: new WebAssembly.Module(generate(program)) };
  if (known.size >= MAX_MODULES) known.delete(known.keys().next().value ?? key);
  known.set(key, code);
  return code;
}
