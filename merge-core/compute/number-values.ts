// Formulas -> numbered values: equal subexpressions once, constants folded with the oracle's own arithmetic. What differs from tensor to tensor
// without changing the code, as thresholds and keys of random numbers do, is set apart.
import type { Expr, Reduction } from "./expr.ts";
import { CODES, DTYPE_CODES, type InputType, type Instruction, isSum, type Sink } from "./program.ts";
import { applyScalar, magnitudeKeys, NAN_KEY } from "./reference.ts";
import { type RandomKey, streamWord } from "./rng.ts";
import type { SignedVectors } from "./sign-patterns.ts";
import { NONE, ValueList } from "./value-list.ts";

/** What an instruction holds besides what its value says. */
export type Parameters = Pick<Instruction, "words" | "limit" | "details">;

/**
 * Words by code: operations have their operands; `load` input and type; `trim` its operand, its parameters and whether its threshold is NaN;
 * `bernoulli` its operand and parameters; what is done with a value the operand, then for `dot` the other one, for `store` the type,
 * for `keep` the slot, for `signBits` the vector's number, for histograms and counts of ties the parameters, and the sink; `countPatterns` how many
 * vectors, whether signs are elected, and the sink.
 */
export interface NumberedValues {
  readonly values: ValueList;
  readonly parameters: readonly Parameters[];
}

/** @throws RangeError for a formula that uses an input which does not exist. */
export function numberValues(sinks: readonly Sink[], inputTypes: readonly InputType[], key: RandomKey): NumberedValues {
  const numbering = new Numbering(inputTypes, key);
  for (let i = 0; i < sinks.length; i++) numbering.sink(sinks[i] as Sink, i);
  numbering.finish();
  return numbering;
}

type Plain = Exclude<keyof typeof CODES & Expr["op"], "trim" | "bernoulli">;

class Numbering implements NumberedValues {
  readonly values = new ValueList();
  readonly parameters: Parameters[] = [];
  readonly #known = new Map<Expr, number>();
  readonly #inputTypes: readonly InputType[];
  readonly #key: RandomKey;
  readonly #sums: (readonly number[])[] = [];

  constructor(inputTypes: readonly InputType[], key: RandomKey) {
    this.#inputTypes = inputTypes;
    this.#key = key;
  }

  sink(sink: Sink, index: number): void {
    if (sink.kind === "store") this.values.add(CODES.store, this.#value(sink.x), DTYPE_CODES[sink.dtype], index);
    else if (sink.kind === "keep") this.values.add(CODES.keep, this.#value(sink.x), sink.slot, index);
    else if (sink.kind === "reduce") this.#reduce(sink.reduction, index);
    else if (sink.kind === "patterns") this.#patterns(sink.vectors, index);
    else {
      const details =
        sink.kind === "countTies" ? [sink.key] : sink.kind === "histogramWindow" || sink.kind === "histogramBoth" ? [sink.low, sink.width, sink.guess] : [];
      this.values.add(CODES[sink.kind], this.#value(sink.x), this.#parameter({ details }), index);
    }
  }

  #reduce(reduction: Reduction, index: number): void {
    const code = CODES[reduction.op];
    const x = this.#value(reduction.x);
    const words = [x, reduction.op === "dot" ? this.#value(reduction.y) : NONE, index] as const;
    if (isSum(code)) this.#sums.push([code, ...words]);
    else this.values.add(code, ...words);
  }

  /** Sums come last: they are done in loops of their own. */
  finish(): void {
    for (const [code = NONE, x = NONE, y, index] of this.#sums) this.values.add(code, x, y, index);
  }

  /** The bits of each vector, and of the one whose sign is elected, then their counts. */
  #patterns({ xs, elected }: SignedVectors, index: number): void {
    const all = elected === undefined ? xs : [...xs, elected];
    for (const [i, x] of all.entries()) this.values.add(CODES.signBits, this.#value(x), i, index);
    this.values.add(CODES.countPatterns, xs.length, all.length - xs.length, index);
  }

  #parameter(parameters: Parameters): number {
    return this.parameters.push(parameters) - 1;
  }

  #value(expr: Expr): number {
    if (expr.op === "input") return this.#load(expr.index);
    if (expr.op === "const") return this.values.addConstant(expr.value);
    const known = this.#known.get(expr);
    if (known !== undefined) return known;
    const value = this.#compute(expr);
    this.#known.set(expr, value);
    return value;
  }

  #compute(expr: Exclude<Expr, { readonly op: "input" | "const" }>): number {
    switch (expr.op) {
      case "linear":
        return this.#linear(expr.terms);
      case "trim":
        return this.#trim(expr);
      case "bernoulli":
        return this.#bernoulli(expr);
      case "select":
        return this.#operation(expr.op, this.#value(expr.a), this.#value(expr.b), this.#value(expr.c));
      case "kept":
        return this.#value(expr.a);
      case "neg":
      case "abs":
      case "sqrt":
        return this.#operation(expr.op, this.#value(expr.a));
      case "perRow":
      case "perColumn":
      case "rowRank":
      case "given":
      case "turns":
        throw new TypeError(`${expr.op} is no kernel operation; the tensor engine replaces it by an input`);
      default:
        return this.#operation(expr.op, this.#value(expr.a), this.#value(expr.b));
    }
  }

  #load(index: number): number {
    const dtype = this.#inputTypes[index];
    if (dtype === undefined) throw new RangeError(`formula uses input ${index}, which the tensor does not have`);
    return this.values.add(CODES.load, index, DTYPE_CODES[dtype]);
  }

  #trim({ a, selection: { threshold, tieLimit: limit } }: Extract<Expr, { readonly op: "trim" }>): number {
    const key = magnitudeKeys(Float32Array.of(threshold))[0] as number;
    const operand = this.#value(a);
    const same = this.parameters.findIndex((other) => other.limit === limit && other.words?.[0] === key);
    return this.values.add(CODES.trim, operand, same < 0 ? this.#parameter({ words: [key], limit }) : same, Number(key === NAN_KEY));
  }

  #bernoulli({ keep, stream }: Extract<Expr, { readonly op: "bernoulli" }>): number {
    const { seedLow, seedHigh, nameLow, nameHigh } = this.#key;
    const operand = this.#value(keep);
    const word = streamWord(stream);
    const same = this.parameters.findIndex(({ words, limit }) => limit === undefined && words?.[0] === word);
    return this.values.add(CODES.bernoulli, operand, same < 0 ? this.#parameter({ words: [word, seedLow, seedHigh, nameLow, nameHigh] }) : same);
  }

  #operation(op: Plain, a: number, b = NONE, c = NONE): number {
    const { values } = this;
    // Sums and products are the same either way round: in one order they are computed once.
    if ((op === "add" || op === "mul") && a > b) return this.#operation(op, b, a);
    if (values.isConstant(a) || values.isConstant(b) || values.isConstant(c)) return this.#withConstants(op, a, b, c);
    return values.add(CODES[op], a, b, c);
  }

  #withConstants(op: Plain, a: number, b: number, c: number): number {
    const { values } = this;
    const operands = [a, b, c].filter((operand) => operand !== NONE);
    const constants = operands.filter((operand) => values.isConstant(operand)).map((operand) => values.float(operand));
    const folded = constants.length === operands.length ? applyScalar(op, constants) : undefined;
    if (folded !== undefined) return values.addConstant(folded);
    // A magnitude is never below zero.
    const size = op === "max" && (constants[0] ?? 1) <= 0 ? operands.find((operand) => values.code(operand) === CODES.abs) : undefined;
    return size ?? values.add(CODES[op], a, b, c);
  }

  /** The defined chain of products and sums. Multiplying by one is exact, so it is left out. */
  #linear(terms: readonly { readonly weight: number; readonly x: Expr }[]): number {
    const { values } = this;
    let sum = NONE;
    for (const term of terms) {
      const weight = Math.fround(term.weight);
      const x = this.#value(term.x);
      if (sum === NONE || weight === 1 || values.isConstant(x)) {
        const product = weight === 1 ? x : this.#operation("mul", values.addConstant(weight), x);
        sum = sum === NONE ? product : this.#operation("add", sum, product);
      } else sum = values.add(CODES.mulAdd, sum, values.addConstant(weight), x);
    }
    return sum === NONE ? values.addConstant(0) : sum;
  }
}
