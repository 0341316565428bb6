// The code of compiled formulas, made once for all that differ only in numbers such as weights and thresholds.
import { generate } from "./codegen.ts";
import type { GeneratedCode } from "./instance.ts";
import type { Program } from "./program.ts";

/** For as long as the shape is known to compile.ts. */
const known = new WeakMap<object, GeneratedCode>();
let nextId = 0;

export function codeOf(program: Program): GeneratedCode {
  const code = known.get(program.shape) ?? { id: nextId++, module: new WebAssembly.Module(generate(program)) };
  known.set(program.shape, code);
  return code;
}
