// The specification of expr.ts in plain TypeScript: whole arrays, one operation at a time, Math.fround after each.
// The WASM engine must give the same bits; tests hold it to that. Also the way to compute where WASM SIMD or shared memory is missing.
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import { elementCount } from "../formats/dtypes.ts";
import type { Keep, TensorEngine } from "./engine.ts";
import type { Expr, MagnitudeSelection, Reduction } from "./expr.ts";
import { plainSpace } from "./linalg/plain-space.ts";
import { divergence, lineDots, pairsOf } from "./lines.ts";
import { type RandomKey, randomKey, uniforms } from "./rng.ts";
import { countsFromHistogram, patternNumber, type SignedVectors } from "./sign-patterns.ts";

/** Elements whose partial result is rounded to one float64 before blocks are added in order. */
export const BLOCK = 4096;
/** The key of NaN: one above infinity's. */
export const NAN_KEY = 0x7f800001;

export interface ReferenceInputs {
  /** Each as float32, `size` elements. */
  readonly inputs: readonly Float32Array[];
  readonly size: number;
  /** Length of a row; one row by default. */
  readonly columns?: number;
  readonly key: RandomKey;
}

type Binary = "add" | "sub" | "mul" | "div" | "min" | "max" | "lt" | "le" | "gt" | "ge" | "eq";
type Unary = "neg" | "abs" | "sqrt";

const BINARY: Readonly<Record<Binary, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: Math.min,
  max: Math.max,
  lt: (a, b) => +(a < b),
  le: (a, b) => +(a <= b),
  gt: (a, b) => +(a > b),
  ge: (a, b) => +(a >= b),
  eq: (a, b) => +(a === b),
};
const UNARY: Readonly<Record<Unary, (a: number) => number>> = { neg: (a) => -a, abs: Math.abs, sqrt: Math.sqrt };

/** One operation on float32 values, for folding constants; undefined where the result depends on the element. */
export function applyScalar(op: Expr["op"], values: readonly number[]): number | undefined {
  const [a = 0, b = 0, c = 0] = values;
  if (op in BINARY) return Math.fround(BINARY[op as Binary](a, b));
  if (op in UNARY) return Math.fround(UNARY[op as Unary](a));
  return op === "select" ? (a !== 0 ? b : c) : undefined;
}

/** Every element of a formula. Nodes used several times are computed once. */
export function evaluate(expr: Expr, env: ReferenceInputs, known = new Map<Expr, Float32Array>()): Float32Array {
  const found = known.get(expr);
  if (found !== undefined) return found;
  const value = compute(expr, env, (x) => evaluate(x, env, known));
  known.set(expr, value);
  return value;
}

function compute(expr: Expr, env: ReferenceInputs, value: (x: Expr) => Float32Array): Float32Array {
  const fill = (element: (i: number) => number): Float32Array => Float32Array.from({ length: env.size }, (_, i) => element(i));
  switch (expr.op) {
    case "input":
      return env.inputs[expr.index] ?? missingInput(expr.index);
    case "const":
      return new Float32Array(env.size).fill(expr.value);
    case "linear":
      return combine(
        expr.terms.map((term) => ({ weight: Math.fround(term.weight), x: value(term.x) })),
        env.size,
      );
    case "neg":
    case "abs":
    case "sqrt": {
      const a = value(expr.a);
      const apply = UNARY[expr.op];
      return fill((i) => apply(a[i] as number));
    }
    case "select": {
      const [a, b, c] = [value(expr.a), value(expr.b), value(expr.c)];
      return fill((i) => (a[i] !== 0 ? b[i] : c[i]) as number);
    }
    case "kept":
      return value(expr.a);
    case "trim": {
      const a = value(expr.a);
      const keep = selected(a, expr.selection);
      return fill((i) => (keep(i) ? (a[i] as number) : 0));
    }
    case "perRow":
      return fill((i) => expr.values[Math.floor(i / columnsOf(env))] as number);
    case "perColumn":
      return fill((i) => expr.values[i % columnsOf(env)] as number);
    case "given":
      return expr.values;
    case "turns":
      return turnsBySorting(expr.vectors.slice(0, expr.at + 1).map(value), expr.block, expr.count);
    case "rowRank":
      return rankRows(value(expr.a), columnsOf(env));
    case "bernoulli": {
      const keep = value(expr.keep);
      const u = uniforms(env.key, expr.stream, 0, env.size);
      return fill((i) => +((u[i] as number) < (keep[i] as number)));
    }
    default: {
      const [a, b] = [value(expr.a), value(expr.b)];
      const apply = BINARY[expr.op];
      return fill((i) => apply(a[i] as number, b[i] as number));
    }
  }
}

const columnsOf = ({ columns, size }: ReferenceInputs): number => columns ?? size;

/** What the last of `vectors` takes, by sorting each block. */
function turnsBySorting(vectors: readonly Float32Array[], block: number, keep: number): Float32Array {
  const size = vectors[0]?.length ?? 0;
  const taken = new Set<number>();
  let own: number[] = [];
  for (const vector of vectors) {
    const keys = magnitudeKeys(vector);
    own = [];
    for (let start = 0; start < size; start += block) {
      const indices = Array.from({ length: Math.min(block, size - start) }, (_, i) => start + i);
      indices.sort((i, j) => Number(taken.has(i)) - Number(taken.has(j)) || (keys[j] as number) - (keys[i] as number) || i - j);
      own.push(...indices.slice(0, Math.ceil((keep * indices.length) / block)));
    }
    for (const i of own) taken.add(i);
  }
  const mask = new Float32Array(size);
  for (const i of own) mask[i] = 1;
  return mask;
}

/** By sorting each row. */
function rankRows(values: Float32Array, columns: number): Float32Array {
  const keys = magnitudeKeys(values);
  const ranks = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += columns) {
    const order = Array.from({ length: columns }, (_, i) => start + i).sort((i, j) => (keys[i] as number) - (keys[j] as number) || i - j);
    for (const [place, i] of order.entries()) ranks[i] = columns === 1 ? 0.5 : place / (columns - 1);
  }
  return ranks;
}

function missingInput(index: number): never {
  throw new RangeError(`formula uses input ${index}, which the tensor does not have`);
}

function combine(terms: readonly { readonly weight: number; readonly x: Float32Array }[], size: number): Float32Array {
  const [first, ...rest] = terms;
  if (first === undefined) return new Float32Array(size);
  const sum = first.x.map((x) => first.weight * x);
  for (const { weight, x } of rest) for (let i = 0; i < size; i++) sum[i] = (sum[i] as number) + Math.fround(weight * (x[i] as number));
  return sum;
}

/** The integers that order values by magnitude: float32 bits without the sign, one key for all NaNs. */
export function magnitudeKeys(values: Float32Array): Uint32Array {
  const bits = new Uint32Array(values.slice().buffer);
  return bits.map((word) => Math.min(word & 0x7fffffff, NAN_KEY));
}

function selected(values: Float32Array, selection: MagnitudeSelection): (i: number) => boolean {
  const keys = magnitudeKeys(values);
  const threshold = magnitudeKeys(Float32Array.of(selection.threshold))[0] as number;
  return (i) => (keys[i] as number) > threshold || (keys[i] === threshold && i < selection.tieLimit);
}

/** What `keep: 0` selects by: nothing is above NaN, and no tie counts. */
export const KEEP_NONE: MagnitudeSelection = { threshold: Number.NaN, tieLimit: 0 };
/** What `keep: size` selects by. */
export const KEEP_ALL: MagnitudeSelection = { threshold: 0, tieLimit: Number.POSITIVE_INFINITY };

/** The selection as asked for. */
export const withoutTies = ({ ties }: { readonly ties?: false }, selection: MagnitudeSelection): MagnitudeSelection =>
  ties === false ? { ...selection, tieLimit: Number.POSITIVE_INFINITY } : selection;

/** By sorting; NaN counts as larger than infinity, all NaNs as equal. */
export function selectLargest(values: Float32Array, keep: number): MagnitudeSelection {
  if (keep <= 0) return KEEP_NONE;
  if (keep >= values.length) return KEEP_ALL;
  const keys = magnitudeKeys(values);
  const order = Array.from(keys.keys()).sort((i, j) => (keys[j] as number) - (keys[i] as number) || i - j);
  const last = order[keep - 1] as number;
  const key = keys[last] as number;
  const tiesCut = keys[order[keep] as number] === key;
  return { threshold: keyToValue(key), tieLimit: tiesCut ? last + 1 : Number.POSITIVE_INFINITY };
}

/** How many values have which upper 16 bits of the key. */
function countMagnitudes(values: Float32Array, bin?: number): Float64Array {
  const counts = new Float64Array(bin === undefined ? (NAN_KEY >>> 16) + 1 : 1 << 16);
  for (const key of magnitudeKeys(values)) {
    const place = bin === undefined ? key >>> 16 : key & 0xffff;
    if (bin === undefined || key >>> 16 === bin) counts[place] = (counts[place] as number) + 1;
  }
  return counts;
}

/** The float32 with this key. */
export function keyToValue(key: number): number {
  return new Float32Array(Uint32Array.of(key).buffer)[0] as number;
}

/** A reduction in its defined order: four lanes per block of 4096, lanes in pairs, blocks in order. */
export function reduceArrays(op: Reduction["op"], x: Float32Array, y: Float32Array): number {
  const partials: number[] = [];
  for (let start = 0; start < x.length; start += BLOCK) partials.push(reduceBlock(op, x.subarray(start, start + BLOCK), y.subarray(start, start + BLOCK)));
  return joinBlocks(op, partials);
}

/** Block results to the whole's. */
export function joinBlocks(op: Reduction["op"], partials: Iterable<number>): number {
  let total = 0;
  for (const value of partials) total = op === "maxAbs" ? Math.max(total, value) : total + value;
  return total;
}

function reduceBlock(op: Reduction["op"], x: Float32Array, y: Float32Array): number {
  const lanes = [0, 0, 0, 0] as [number, number, number, number];
  const join = op === "maxAbs" ? Math.max : (a: number, b: number): number => a + b;
  for (let i = 0; i < x.length; i++) lanes[i & 3] = join(lanes[i & 3] as number, reductionTerm(op, x[i] as number, y[i] as number));
  return join(join(lanes[0], lanes[1]), join(lanes[2], lanes[3]));
}

function reductionTerm(op: Reduction["op"], x: number, y: number): number {
  switch (op) {
    case "sum":
      return x;
    case "sumAbs":
    case "maxAbs":
      return Math.abs(x);
    case "sumSquares":
      return x * x;
    case "dot":
      return x * y;
    case "countNonZero":
      return x !== 0 ? 1 : 0;
  }
}

const NAN_BYTES: Readonly<Record<FloatDType, readonly number[]>> = {
  F64: [0, 0, 0, 0, 0, 0, 0xf8, 0x7f],
  F32: [0, 0, 0xc0, 0x7f],
  F16: [0, 0x7e],
  BF16: [0xc0, 0x7f],
  F8_E4M3: [0x7f],
  F8_E5M2: [0x7f],
};

/** Values as they are saved: rounded once, every NaN as the format's positive quiet NaN, since a computed NaN's sign is the processor's choice. */
export function encodeOutput(dtype: FloatDType, values: Float32Array): Uint8Array {
  const bytes = narrowFromFloat32(dtype, values);
  const nan = NAN_BYTES[dtype];
  values.forEach((value, i) => {
    if (Number.isNaN(value)) bytes.set(nan, i * nan.length);
  });
  return bytes;
}

/** A TensorEngine over arrays in memory, for tests of methods and for machines without WASM SIMD. */
export function createReferenceEngine(task: {
  readonly name: string;
  readonly shape: readonly number[];
  readonly seed: number;
  readonly inputs: readonly Float32Array[];
}): TensorEngine & { write(expr: Expr): Float32Array } {
  const size = elementCount(task.shape);
  const env = { inputs: task.inputs, size, columns: task.shape.at(-1) ?? 1, key: randomKey(task.seed, task.name) };
  const reduce = (reductions: readonly Reduction[]): number[] =>
    reductions.map((r) => reduceArrays(r.op, evaluate(r.x, env), evaluate(r.op === "dot" ? r.y : r.x, env)));
  const select = (items: readonly Keep[]): MagnitudeSelection[] => items.map((item) => withoutTies(item, selectLargest(evaluate(item.x, env), item.keep)));
  const survey = (reductions: readonly Reduction[], counted: readonly Expr[], signed: readonly SignedVectors[] = []) => ({
    results: reduce(reductions),
    counts: counted.map((x) => countMagnitudes(evaluate(x, env))),
    patterns: signed.map((vectors) => countsFromHistogram(vectors, countMagnitudes(evaluate(patternNumber(vectors), env)))),
  });
  return {
    shape: task.shape,
    size,
    inputCount: task.inputs.length,
    reduce: async (reductions) => reduce(reductions),
    selectLargest: async (items) => select(items),
    selectAndSurvey: async (items, reductions, counted = []) => {
      const { results, counts } = survey(reductions, counted);
      return { selections: select(items), results, counts };
    },
    magnitudeCounts: async (xs, bins) => xs.map((x, i) => countMagnitudes(evaluate(x, env), bins?.[i])),
    survey: async (reductions, counted, signed) => survey(reductions, counted, signed),
    values: async (expr, first = 0, end = size) => evaluate(expr, env).slice(first, end),
    lineProducts: async (xs, axis) => {
      const values = xs.map((x) => evaluate(x, env));
      return pairsOf(xs.length).map(([i, j]) => lineDots(values[i] as Float32Array, values[j] as Float32Array, env.columns, axis));
    },
    rowDivergences: async (a, b) => {
      const [p, q] = [evaluate(a, env), evaluate(b, env)];
      const row = (values: Float32Array, at: number) => values.subarray(at * env.columns, (at + 1) * env.columns);
      return Float64Array.from({ length: size / Math.max(1, env.columns) }, (_, at) => divergence(row(p, at), row(q, at)));
    },
    withMatrices: async (use) => use(plainSpace()),
    write: (expr) => evaluate(expr, env),
  };
}
