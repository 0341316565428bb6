// Numbered values -> instructions: values get registers, which are given back after their last use.
import { CODES, DTYPE_CODES, type Instruction, type Operand } from "./program.ts";
import { NONE, type ValueList } from "./value-list.ts";

/** A program without the numbers that differ between formulas of one shape. */
export interface Template {
  readonly instructions: readonly Instruction[];
  /** The values that are constants, in the order in which the program has them. */
  readonly constants: readonly number[];
  /** Which instructions have parameters, and which. */
  readonly parameters: readonly { readonly at: number; readonly parameter: number }[];
  readonly registers: number;
  /** Which inputs are read. */
  readonly inputs: readonly number[];
}

export function allocate(values: ValueList): Template {
  const steps = Array.from({ length: values.count }, (_, value) => value).filter((value) => !values.isConstant(value));
  const parameters = steps.flatMap((value, at) => {
    const place = PARAMETER_AT.get(values.code(value));
    return place === undefined ? [] : [{ at, parameter: values.word(value, place) }];
  });
  const inputs = steps.filter((value) => values.code(value) === CODES.load).map((value) => values.word(value, 1));
  return { ...placeValues(values, steps), parameters, inputs: [...new Set(inputs)].sort((a, b) => a - b) };
}

/** Where the words of a value name its parameters. */
const PARAMETER_AT = new Map(
  [CODES.trim, CODES.bernoulli, CODES.countTies, CODES.histogramHigh, CODES.histogramWindow, CODES.histogramBoth].map((code) => [code, 2] as const),
);
/** The sink is the last word. */
const WITH_MEMORY = new Set<number>([
  ...[CODES.sum, CODES.sumAbs, CODES.sumSquares, CODES.dot, CODES.countNonZero, CODES.maxAbs],
  ...[CODES.countTies, CODES.histogramHigh, CODES.histogramWindow, CODES.histogramBoth, CODES.signBits, CODES.countPatterns],
]);
const ONE_OPERAND = new Set<number>([...WITH_MEMORY, CODES.trim, CODES.bernoulli, CODES.store, CODES.keep]);
ONE_OPERAND.delete(CODES.dot);
const NO_RESULT = new Set<number>([...WITH_MEMORY, CODES.store, CODES.keep]);

function operandsOf(values: ValueList, value: number): number[] {
  const code = values.code(value);
  if (code === CODES.load || code === CODES.countPatterns) return [];
  const most = ONE_OPERAND.has(code) ? 1 : code === CODES.dot ? 2 : 3;
  return [1, 2, 3].slice(0, most).flatMap((at) => (values.word(value, at) === NONE ? [] : values.word(value, at)));
}

/** What does not differ between formulas of one shape. */
function detailsOf(values: ValueList, value: number): Pick<Instruction, "words" | "sink"> {
  const code = values.code(value);
  if (code === CODES.load) return { words: [values.word(value, 1), values.word(value, 2)] };
  if (code === CODES.store) return { words: [0, values.word(value, 2)] };
  if (code === CODES.keep) return { words: [values.word(value, 2), DTYPE_CODES.F32] };
  const sink = { sink: values.word(value, 3) };
  if (code === CODES.signBits) return { words: [0, values.word(value, 2)], ...sink };
  if (code === CODES.countPatterns) return { words: [0, values.word(value, 1), values.word(value, 2)], ...sink };
  return WITH_MEMORY.has(code) ? sink : {};
}

/** Gives values registers in order of use; a register is free again after its value's last use. */
function placeValues(values: ValueList, steps: readonly number[]): Pick<Template, "instructions" | "constants" | "registers"> {
  const operandsBy = steps.map((value) => operandsOf(values, value));
  const lastUse = new Map<number, number>();
  for (const [at, operands] of operandsBy.entries()) for (const operand of operands) lastUse.set(operand, at);
  const constants: number[] = [];
  const places = new Map<number, Operand>();
  const free: number[] = [];
  let registers = 0;
  const place = (value: number): Operand => {
    const known = places.get(value) ?? -constants.push(value);
    places.set(value, known);
    return known;
  };
  const instructions = steps.map((value, at): Instruction => {
    const code = values.code(value);
    const used = operandsBy[at] as number[];
    const operands = used.map(place);
    const release = (): void => {
      for (const operand of new Set(operands))
        if (operand >= 0 && used.some((other) => places.get(other) === operand && lastUse.get(other) === at)) free.push(operand);
    };
    // A random mask is drawn into its register before the probabilities are read, so it cannot take theirs.
    if (code !== CODES.bernoulli) release();
    const to = NO_RESULT.has(code) ? -1 : (free.pop() ?? registers++);
    if (code === CODES.bernoulli) release();
    if (to >= 0) places.set(value, to);
    if (to >= 0 && !lastUse.has(value)) free.push(to);
    return { code, to, operands, ...detailsOf(values, value) };
  });
  return { instructions, constants, registers };
}
