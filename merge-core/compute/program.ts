// Compiles formulas to the instruction list that kernels/program.ts runs: values numbered so that equal subexpressions are
// computed once, constants folded with the oracle's own arithmetic, registers given back after their last use.
import type { FloatDType } from "../formats/dtypes.ts";
import type { Expr, Reduction } from "./expr.ts";
import { applyScalar, magnitudeKeys } from "./reference.ts";
import { type RandomKey, streamWord } from "./rng.ts";

/** What a formula's inputs are made of: numbers, or one bit for each element, of which the first is the lowest. */
export type InputType = FloatDType | "BITS";

/** Type codes of kernels/dtypes.ts. Bits are known to generated code alone. */
export const DTYPE_CODES: Readonly<Record<InputType, number>> = { BF16: 0, F16: 1, F32: 2, F64: 3, F8_E4M3: 4, F8_E5M2: 5, BITS: 6 };

/** Instruction codes of kernels/program.ts. */
export const CODES = {
  ...{ add: 0, sub: 1, mul: 2, div: 3, min: 4, max: 5, lt: 6, le: 7, gt: 8, ge: 9, eq: 10, neg: 11, abs: 12, sqrt: 13 },
  ...{ mulAdd: 14, select: 15, trim: 16, bernoulli: 17, load: 18, store: 19, histogramHigh: 20, histogramWindow: 21, keep: 22 },
  ...{ sum: 32, sumAbs: 33, sumSquares: 34, dot: 35, countNonZero: 36, countTies: 37, maxAbs: 38 },
};
type Code = keyof typeof CODES;

/** What a pass does with values. Each kind but `store` and `keep` owns memory, given at linking: partials per block, or a histogram. */
export type Sink =
  | { readonly kind: "store"; readonly x: Expr; readonly dtype: FloatDType }
  | { readonly kind: "reduce"; readonly reduction: Reduction }
  /** Writes float32 values where the table of inputs says for this slot. */
  | { readonly kind: "keep"; readonly x: Expr; readonly slot: number }
  | { readonly kind: "countTies"; readonly x: Expr; readonly key: number }
  | { readonly kind: "histogramHigh"; readonly x: Expr }
  /** Keys in [low, low + width), of which `guess` is likely to be very frequent. */
  | { readonly kind: "histogramWindow"; readonly x: Expr; readonly low: number; readonly width: number; readonly guess: number };

/** A register if >= 0, else the constant number -1 - n. */
export type Operand = number;

export interface Instruction {
  readonly code: number;
  /** Destination register, or -1. */
  readonly to: number;
  readonly operands: readonly Operand[];
  /** Words 8 on, as the code defines them. */
  readonly words?: readonly number[];
  /** A float64 in words 10 and 11. */
  readonly limit?: number;
  /** The sink whose memory this instruction uses, and the numbers that go with it. */
  readonly sink?: number;
  readonly details?: readonly number[];
}

export interface Program {
  readonly instructions: readonly Instruction[];
  readonly constants: readonly number[];
  readonly registers: number;
  /** Which inputs are read. */
  readonly inputs: readonly number[];
}

/** A computed value before it has a register. */
interface Value {
  readonly code: Code;
  readonly args: readonly number[];
  readonly words?: readonly number[];
  readonly limit?: number;
}

type Node = { readonly constant: number } | Value;

/** @throws RangeError for a formula that uses an input which does not exist. */
export function compileProgram(sinks: readonly Sink[], inputTypes: readonly InputType[], key: RandomKey): Program {
  const builder = new Builder(inputTypes, key);
  for (const [index, sink] of sinks.entries()) builder.sink(sink, index);
  return allocate(builder);
}

interface Use {
  readonly code: Code;
  readonly args: readonly number[];
  readonly extra: Omit<Instruction, "code" | "to" | "operands">;
}

/** Numbers the values of all formulas; `order` is the sequence of computing and using them. */
class Builder {
  readonly nodes: Node[] = [];
  readonly order: (number | Use)[] = [];
  readonly inputs = new Set<number>();
  readonly #numbers = new Map<string | number, number>();
  readonly #known = new Map<Expr, number>();
  readonly #inputTypes: readonly InputType[];
  readonly #key: RandomKey;

  constructor(inputTypes: readonly InputType[], key: RandomKey) {
    this.#inputTypes = inputTypes;
    this.#key = key;
  }

  sink(sink: Sink, index: number): void {
    if (sink.kind === "store") this.#use("store", [sink.x], { words: [0, DTYPE_CODES[sink.dtype]] });
    else if (sink.kind === "keep") this.#use("keep", [sink.x], { words: [sink.slot, DTYPE_CODES.F32] });
    else if (sink.kind === "reduce") this.#reduce(sink.reduction, index);
    else
      this.#use(sink.kind, [sink.x], {
        sink: index,
        details: sink.kind === "countTies" ? [sink.key] : sink.kind === "histogramWindow" ? [sink.low, sink.width, sink.guess] : [],
      });
  }

  #reduce(reduction: Reduction, index: number): void {
    this.#use(reduction.op, reduction.op === "dot" ? [reduction.x, reduction.y] : [reduction.x], { sink: index });
  }

  #use(code: Code, xs: readonly Expr[], extra: Use["extra"]): void {
    this.order.push({ code, args: xs.map((x) => this.value(x)), extra });
  }

  /** The number of a formula's value. */
  value(expr: Expr): number {
    const known = this.#known.get(expr);
    if (known !== undefined) return known;
    const number = this.#build(expr);
    this.#known.set(expr, number);
    return number;
  }

  #build(expr: Expr): number {
    switch (expr.op) {
      case "const":
        return this.#constant(Math.fround(expr.value));
      case "input":
        return this.#load(expr.index);
      case "linear":
        return this.#linear(expr.terms);
      case "trim": {
        const key = magnitudeKeys(Float32Array.of(expr.selection.threshold))[0] as number;
        return this.#add({ code: "trim", args: [this.value(expr.a)], words: [key], limit: expr.selection.tieLimit });
      }
      case "bernoulli": {
        const { seedLow, seedHigh, nameLow, nameHigh } = this.#key;
        return this.#add({ code: "bernoulli", args: [this.value(expr.keep)], words: [streamWord(expr.stream), seedLow, seedHigh, nameLow, nameHigh] });
      }
      case "select":
        return this.#apply(expr.op, [expr.a, expr.b, expr.c]);
      case "kept":
        return this.value(expr.a);
      case "neg":
      case "abs":
      case "sqrt":
        return this.#apply(expr.op, [expr.a]);
      case "perRow":
      case "perColumn":
      case "rowRank":
      case "given":
      case "turns":
        throw new TypeError(`${expr.op} is no kernel operation; the tensor engine replaces it by an input`);
      default:
        return this.#apply(expr.op, [expr.a, expr.b]);
    }
  }

  #load(index: number): number {
    const dtype = this.#inputTypes[index];
    if (dtype === undefined) throw new RangeError(`formula uses input ${index}, which the tensor does not have`);
    this.inputs.add(index);
    return this.#add({ code: "load", args: [], words: [index, DTYPE_CODES[dtype]] });
  }

  #apply(op: Exclude<Code & Expr["op"], "trim" | "bernoulli">, xs: readonly Expr[]): number {
    return this.#operation(
      op,
      xs.map((x) => this.value(x)),
    );
  }

  #operation(op: Code & Expr["op"], given: readonly number[]): number {
    // Sums and products are the same either way round: in one order they are computed once.
    const [first = 0, second = 0] = given;
    const args = (op === "add" || op === "mul") && first > second ? [second, first] : given;
    // Most operations have none.
    if (!args.some((arg) => this.#constantOf(arg) !== undefined)) return this.#add({ code: op, args });
    const constants = args.flatMap((arg) => this.#constantOf(arg) ?? []);
    const folded = constants.length === args.length ? applyScalar(op, constants) : undefined;
    // A magnitude is never below zero.
    const size = op === "max" && (constants[0] ?? 1) <= 0 ? args.find((arg) => this.#codeOf(arg) === "abs") : undefined;
    if (size !== undefined) return size;
    return folded === undefined ? this.#add({ code: op, args }) : this.#constant(folded);
  }

  /** The defined chain of products and sums. Multiplying by one is exact, so it is left out. */
  #linear(terms: readonly { readonly weight: number; readonly x: Expr }[]): number {
    let sum: number | undefined;
    for (const term of terms) {
      const weight = Math.fround(term.weight);
      const x = this.value(term.x);
      const isConstant = this.#constantOf(x) !== undefined;
      if (sum === undefined || weight === 1 || isConstant) {
        const product = weight === 1 ? x : this.#operation("mul", [this.#constant(weight), x]);
        sum = sum === undefined ? product : this.#operation("add", [sum, product]);
      } else sum = this.#add({ code: "mulAdd", args: [sum, this.#constant(weight), x] });
    }
    return sum ?? this.#constant(0);
  }

  #codeOf(number: number): Code | undefined {
    const node = this.nodes[number];
    return node !== undefined && "code" in node ? node.code : undefined;
  }

  #constantOf(number: number): number | undefined {
    const node = this.nodes[number];
    return node !== undefined && "constant" in node ? node.constant : undefined;
  }

  #constant(constant: number): number {
    return this.#number(`const ${Object.is(constant, -0) ? "-0" : constant}`, { constant }).number;
  }

  #add(value: Value): number {
    const { number, isNew } = this.#number(nameOf(value), value);
    if (isNew) this.order.push(number);
    return number;
  }

  #number(name: string | number, node: Node): { number: number; isNew: boolean } {
    const known = this.#numbers.get(name);
    if (known !== undefined) return { number: known, isNew: false };
    const number = this.nodes.push(node) - 1;
    this.#numbers.set(name, number);
    return { number, isNew: true };
  }
}

/** Values of more than this number do not fit into the short names. */
const SHORT_NAMES = 2 ** 14 - 1;

/** Equal for equal operations on the same values. Of plain ones it is a number, as making a text for each takes the most of compiling. */
function nameOf({ code, args, words, limit }: Value): string | number {
  if (words !== undefined || limit !== undefined || args.length > 3 || args.some((arg) => arg >= SHORT_NAMES)) return `${code} ${args} ${words} ${limit}`;
  return args.reduce((name, arg) => name * (SHORT_NAMES + 1) + arg + 1, CODES[code]) * 4 + args.length;
}

/** Computing a value (`to` is its number) or using some (-1). */
type Step = Use & { readonly to: number };

function valueStep(to: number, { code, args, words, limit }: Value): Step {
  return { to, code, args, extra: { ...(words === undefined ? {} : { words }), ...(limit === undefined ? {} : { limit }) } };
}

/** Gives values registers in order of use; a register is free again after its value's last use. */
function allocate({ nodes, order, inputs }: Builder): Program {
  const steps = order.map((step): Step => (typeof step === "number" ? valueStep(step, nodes[step] as Value) : { to: -1, ...step }));
  const lastUse = new Map<number, number>();
  for (const [at, step] of steps.entries()) for (const arg of step.args) lastUse.set(arg, at);
  const constants: number[] = [];
  const places = new Map<number, Operand>();
  const free: number[] = [];
  let registers = 0;
  const place = (value: number): Operand => {
    const known = places.get(value);
    if (known !== undefined) return known;
    const operand = -constants.push((nodes[value] as { constant: number }).constant);
    places.set(value, operand);
    return operand;
  };
  const instructions = steps.map((step, at): Instruction => {
    const operands = step.args.map(place);
    const release = (): void => {
      for (const operand of new Set(operands))
        if (operand >= 0 && step.args.some((arg) => places.get(arg) === operand && lastUse.get(arg) === at)) free.push(operand);
    };
    // A random mask is drawn into its register before the probabilities are read, so it cannot take theirs.
    if (step.code !== "bernoulli") release();
    const to = step.to < 0 ? -1 : (free.pop() ?? registers++);
    if (step.code === "bernoulli") release();
    if (step.to >= 0) places.set(step.to, to);
    if (step.to >= 0 && !lastUse.has(step.to)) free.push(to);
    return { code: CODES[step.code], to, operands, ...step.extra };
  });
  return { instructions, constants, registers, inputs: [...inputs].sort((a, b) => a - b) };
}
