// Turns a compiled program (compute/program.ts), the same that becomes a WASM function, into a WGSL compute shader. Every operation is
// the same float32 operation in the same order. All inputs lie one after the other in one buffer, so that no formula meets the limit on
// bindings; constants and thresholds come in a buffer too, so that one shader serves every tensor merged by the same formula.

import { CODES, type Instruction, type Operand, type Program } from "../program.ts";
import { BLOCK } from "../reference.ts";
import { GROUP, GROUP_ELEMENTS, LANES, LIBRARY, LOADS, STORES } from "./wgsl.ts";

/** Words before the inputs' places and the constants: element count, Philox block (low, high), and zero. */
const HEAD = 4;
/** A histogram of the upper key bits. */
const HIGH_BINS = 0x7f81;

/** What one dispatch works on. */
export interface Chunk {
  /** First element in the tensor, a multiple of four. */
  readonly first: number;
  readonly count: number;
  /** Where each input of the program begins, in words of the buffer of inputs. */
  readonly wordsAt: readonly number[];
}

export interface WgslProgram {
  readonly code: string;
  /** The words of the buffer of parameters. */
  params(chunk: Chunk): Uint32Array<ArrayBuffer>;
  /** Words of the buffer that all chunks add to: the count of infinite and NaN results, then histograms in the order of their sinks. */
  readonly tableWords: number;
  /** By sink: where in the table its counts are, if it is a histogram. */
  readonly tables: ReadonlyMap<number, { readonly at: number; readonly words: number }>;
  /** By sink: its place among the partial results of a workgroup, if it is a reduction; and which joins by the larger. */
  readonly partials: ReadonlyMap<number, { readonly place: number; readonly isMost: boolean }>;
  /** Bits of a stored element; 0 if nothing is stored. */
  readonly outputBits: number;
}

/** What only the processor's kernels do. */
const NOT_ON_GPU = new Set<number>([CODES.histogramBoth, CODES.signBits, CODES.countPatterns]);

/** Undefined for what a GPU cannot do: float64, or more than one output, or what only the processor's kernels do. */
export function toWgsl(program: Program): WgslProgram | undefined {
  const stores = program.instructions.filter(({ code }) => code === CODES.store);
  const known = program.instructions.every(({ code, words }) =>
    code === CODES.load ? LOADS[words?.[1] ?? 0] !== undefined : code !== CODES.store || STORES[words?.[1] ?? 0] !== undefined,
  );
  const isKnown = known && program.instructions.every(({ code }) => !NOT_ON_GPU.has(code));
  return isKnown && stores.length <= 1 ? new Writer(program).result() : undefined;
}

const BINARY: ReadonlyMap<number, (a: string, b: string) => string> = new Map([
  [CODES.add, (a, b) => `${a} + ${b}`],
  [CODES.sub, (a, b) => `${a} - ${b}`],
  [CODES.mul, (a, b) => `product(${a}, ${b})`],
  [CODES.div, (a, b) => `${a} / ${b}`],
  [CODES.min, (a, b) => `least(${a}, ${b})`],
  [CODES.max, (a, b) => `most(${a}, ${b})`],
  [CODES.lt, (a, b) => `f32(${a} < ${b})`],
  [CODES.le, (a, b) => `f32(${a} <= ${b})`],
  [CODES.gt, (a, b) => `f32(${a} > ${b})`],
  [CODES.ge, (a, b) => `f32(${a} >= ${b})`],
  [CODES.eq, (a, b) => `f32(${a} == ${b})`],
]);

/** The sign is a bit: a driver must not take x for 0 - x. */
const UNARY: ReadonlyMap<number, (a: string) => string> = new Map([
  [CODES.neg, (a) => `bitcast<f32>(bitcast<u32>(${a}) ^ 0x80000000u)`],
  [CODES.abs, (a) => `bitcast<f32>(bitcast<u32>(${a}) & 0x7fffffffu)`],
  [CODES.sqrt, (a) => `sqrt(${a})`],
]);

const TERMS: ReadonlyMap<number, (x: string, y: string, tie: string) => string> = new Map([
  [CODES.sum, (x) => x],
  [CODES.sumAbs, (x) => `abs(${x})`],
  [CODES.maxAbs, (x) => `abs(${x})`],
  [CODES.sumSquares, (x) => `${x} * ${x}`],
  [CODES.dot, (x, y) => `${x} * ${y}`],
  [CODES.countNonZero, (x) => `f32(${x} != 0.0)`],
  [CODES.countTies, (x, _, tie) => `f32(key(${x}) == ${tie})`],
]);

class Writer {
  readonly #program: Program;
  readonly #tables = new Map<number, { at: number; words: number }>();
  readonly #partials = new Map<number, { place: number; isMost: boolean }>();
  #tableWords = 1;
  #store: Instruction | undefined;
  /** Parameter words after the constants; functions of the chunk for what depends on where it is. */
  readonly #details: (number | ((chunk: Chunk) => number))[] = [];

  constructor(program: Program) {
    this.#program = program;
  }

  result(): WgslProgram {
    const body = this.#program.instructions.map((instruction) => `    ${this.#line(instruction)}`).join("\n");
    const code = this.#shader(body);
    const { constants, inputs } = this.#program;
    const floats = Float32Array.from(constants);
    const words = new Uint32Array(floats.buffer);
    const details = this.#details;
    return {
      code,
      params: (chunk) => {
        const block = Math.floor(chunk.first / 4);
        const head = [chunk.count, block % 2 ** 32, Math.floor(block / 2 ** 32), 0, ...inputs.map((_, i) => chunk.wordsAt[i] ?? 0)];
        return Uint32Array.from([...head, ...words, ...details.map((detail) => (typeof detail === "number" ? detail : detail(chunk)))]);
      },
      tableWords: this.#tableWords,
      tables: this.#tables,
      partials: this.#partials,
      outputBits: this.#store === undefined ? 0 : (STORES[this.#store.words?.[1] ?? 0]?.bits ?? 0),
    };
  }

  #shader(body: string): string {
    const { constants, registers, inputs } = this.#program;
    const joins = [...this.#partials.values()].map(({ place, isMost }) => ({ place, join: isMost ? "most" : "sumOf" }));
    const store = this.#store === undefined ? undefined : STORES[this.#store.words?.[1] ?? 0];
    return `${LIBRARY}
fn sumOf(a: f32, b: f32) -> f32 { return a + b; }
@group(0) @binding(0) var<storage, read> p: array<u32>;
@group(0) @binding(1) var<storage, read> src: array<u32>;
@group(0) @binding(2) var<storage, read_write> dst: array<u32>;
@group(0) @binding(3) var<storage, read_write> table: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;
var<workgroup> shared_: array<f32, ${GROUP}>;
// Rounded by itself: an unknown zero keeps a driver from fusing the product with the sum that follows.
fn product(a: f32, b: f32) -> f32 { return bitcast<f32>(bitcast<u32>(a * b) | p[3]); }
@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let group = wid.y * groups.x + wid.x;
  let base = group * ${GROUP_ELEMENTS}u + local * ${LANES}u;
  let n = p[0];
${constants.map((_, i) => `  let c${i} = bitcast<f32>(p[${HEAD + inputs.length + i}]);`).join("\n")}
${joins.map(({ place }) => `  var a${place} = 0.0;`).join("\n")}
  var codes: array<u32, ${LANES}>;
  var bad = 0u;
  for (var lane = 0u; lane < ${LANES}u; lane++) {
    let i = base + lane;
    if (i >= n) { break; }
${Array.from({ length: registers }, (_, i) => `    var r${i}: f32;`).join("\n")}
${body}
  }
  if (bad > 0u) { atomicAdd(&table[0], bad); }
${store === undefined ? "" : packing(store.bits)}
${joins.map(({ place, join }) => this.#joinGroup(place, join)).join("\n")}
}`;
  }

  /** All lanes of a workgroup to one partial result. */
  #joinGroup(place: number, join: string): string {
    return `  shared_[local] = a${place};
  workgroupBarrier();
  for (var half = ${GROUP / 2}u; half > 0u; half /= 2u) {
    if (local < half) { shared_[local] = ${join}(shared_[local], shared_[local + half]); }
    workgroupBarrier();
  }
  if (local == 0u) { partial[group * ${this.#partials.size}u + ${place}u] = shared_[0]; }
  workgroupBarrier();`;
  }

  #operand(operand: Operand): string {
    return operand >= 0 ? `r${operand}` : `c${-1 - operand}`;
  }

  /** WGSL of a parameter word. */
  #detail(value: number | ((chunk: Chunk) => number)): string {
    const { constants, inputs } = this.#program;
    return `p[${HEAD + inputs.length + constants.length + this.#details.push(value) - 1}]`;
  }

  #line(instruction: Instruction): string {
    const { code, to, operands } = instruction;
    const x = operands.map((operand) => this.#operand(operand));
    const [a = "", b = "", c = ""] = x;
    const set = (value: string): string => `r${to} = ${value};`;
    const binary = BINARY.get(code);
    if (binary !== undefined) return set(binary(a, b));
    const unary = UNARY.get(code);
    if (unary !== undefined) return set(unary(a));
    if (code === CODES.mulAdd) return set(`${a} + product(${b}, ${c})`);
    if (code === CODES.select) return set(`select(${c}, ${b}, ${a} != 0.0)`);
    if (code === CODES.load) return set(this.#load(instruction));
    if (code === CODES.trim) return set(this.#trim(instruction, a));
    if (code === CODES.bernoulli) return set(this.#bernoulli(instruction, a));
    if (code === CODES.store) return this.#storeLine(instruction, a);
    if (code === CODES.histogramHigh) return `atomicAdd(&table[${this.#table(instruction, HIGH_BINS)}u + (key(${a}) >> 16u)], 1u);`;
    if (code === CODES.histogramWindow) return this.#window(instruction, a);
    return this.#reduction(instruction, a, b);
  }

  #load({ words }: Instruction): string {
    const place = this.#program.inputs.indexOf(words?.[0] ?? 0);
    return LOADS[words?.[1] ?? 0]?.(`p[${HEAD + place}]`) ?? "0.0";
  }

  #trim({ words, limit = Number.POSITIVE_INFINITY }: Instruction, a: string): string {
    const threshold = this.#detail(words?.[0] ?? 0);
    const end = this.#detail(({ first, count }) => Math.min(count, Math.max(0, limit - first)));
    return `select(0.0, ${a}, key(${a}) > ${threshold} || (key(${a}) == ${threshold} && i < ${end}))`;
  }

  /** Element i draws word i mod 4 of block i / 4; a block number beyond 32 bits carries into the stream's word. */
  #bernoulli({ words = [] }: Instruction, keep: string): string {
    const [stream, seedLow, seedHigh, nameLow, nameHigh] = words.map((word) => this.#detail(word >>> 0));
    const block = "(p[1] + (i >> 2u))";
    const counter = `vec4<u32>(${block}, ${stream} + p[2] + select(0u, 1u, ${block} < p[1]), ${seedLow}, ${seedHigh})`;
    return `f32(f32(philox(${counter}, vec2<u32>(${nameLow}, ${nameHigh}))[i & 3u] >> 8u) * 5.9604644775390625e-8 < ${keep})`;
  }

  #storeLine(instruction: Instruction, a: string): string {
    this.#store = instruction;
    const store = STORES[instruction.words?.[1] ?? 0];
    return `{ let x = ${a}; let code = ${store?.encode}; codes[lane] = code; if ((code & ${store?.special}u) == ${store?.special}u) { bad++; } }`;
  }

  #table({ sink = 0 }: Instruction, words: number): number {
    const at = this.#tableWords;
    this.#tables.set(sink, { at, words });
    this.#tableWords += words;
    return at;
  }

  /** Keys in the window one by one, after the count of keys above it. */
  #window(instruction: Instruction, a: string): string {
    const [low = 0, width = 0] = instruction.details ?? [];
    const at = this.#table(instruction, width + 1);
    const first = this.#detail(low >>> 0);
    return `{ let k = key(${a}); if (k >= ${first}) { let bin = k - ${first}; if (bin >= ${width}u) { atomicAdd(&table[${at}], 1u); } else { atomicAdd(&table[${at + 1}u + bin], 1u); } } }`;
  }

  #reduction(instruction: Instruction, a: string, b: string): string {
    const { code, sink = 0, details = [] } = instruction;
    const place = this.#partials.size;
    const isMost = code === CODES.maxAbs;
    this.#partials.set(sink, { place, isMost });
    const term = TERMS.get(code)?.(a, b, code === CODES.countTies ? this.#detail((details[0] ?? 0) >>> 0) : "") ?? "0.0";
    return isMost ? `a${place} = most(a${place}, ${term});` : `a${place} += ${term};`;
  }
}

/** Words of the output from the codes of four elements; codes past the end are zero. */
function packing(bits: number): string {
  const perWord = 32 / bits;
  const lines = Array.from({ length: LANES / perWord }, (_, word) => {
    const parts = Array.from({ length: perWord }, (_, j) => `(codes[${word * perWord + j}] << ${j * bits}u)`).join(" | ");
    return `    if (base + ${word * perWord}u < n) { dst[base / ${perWord}u + ${word}u] = ${parts}; }`;
  });
  return `  if (base < n) {\n${lines.join("\n")}\n  }`;
}

/** Workgroups whose partial results make up a block. */
export const GROUPS_PER_BLOCK = BLOCK / GROUP_ELEMENTS;
