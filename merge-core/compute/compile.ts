// Compiles formulas to programs. Most of the work is done once for all formulas of one shape, as a merge has the same for every tensor and a
// search for every candidate: what differs between those is constants, thresholds and keys, which a program reads from memory.
import { allocate, type Template } from "./allocate.ts";
import { type NumberedValues, numberValues } from "./number-values.ts";
import type { InputType, Instruction, Program, Sink } from "./program.ts";
import type { RandomKey } from "./rng.ts";
import { WORDS } from "./value-list.ts";

interface Known {
  readonly key: Int32Array;
  readonly hash: number;
  readonly template: Template;
}

/** A merge uses a handful of formulas; forgetting one costs milliseconds. */
const MAX_KNOWN = 64;
/** The least recently made first. */
const known: Known[] = [];

/** @throws RangeError for a formula that uses an input which does not exist. */
export function compileProgram(sinks: readonly Sink[], inputTypes: readonly InputType[], key: RandomKey): Program {
  const numbered = numberValues(sinks, inputTypes, key);
  return fill(templateOf(numbered), numbered);
}

function templateOf(numbered: NumberedValues): Template {
  const key = shapeKey(numbered);
  let hash = 0;
  for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + (key[i] as number)) | 0;
  const found = known.find((other) => other.hash === hash && isSame(other.key, key));
  if (found !== undefined) return found.template;
  if (known.length === MAX_KNOWN) known.shift();
  const template = allocate(numbered.values);
  known.push({ key, hash, template });
  return template;
}

function isSame(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The values without the numbers that programs read from memory. Code is made for constants of some kinds, so those stay apart. */
function shapeKey({ values }: NumberedValues): Int32Array {
  const key = values.words.slice();
  for (let value = 0; value < values.count; value++) if (values.isConstant(value)) key[value * WORDS + 1] = kindOf(values.float(value));
  return key;
}

/** What extremeOf and zeroSideOf ask of a constant. */
const kindOf = (constant: number): number => (Number.isNaN(constant) ? 3 : constant !== 0 ? 2 : Object.is(constant, -0) ? 1 : 0);

/** The template with a formula's own numbers. */
function fill(template: Template, { values, parameters }: NumberedValues): Program {
  const instructions: Instruction[] = [...template.instructions];
  for (const { at, parameter } of template.parameters) instructions[at] = { ...(instructions[at] as Instruction), ...parameters[parameter] };
  const { registers, inputs } = template;
  return { shape: template, instructions, constants: template.constants.map((value) => values.float(value)), registers, inputs };
}
