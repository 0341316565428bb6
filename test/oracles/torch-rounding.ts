// The formulas of mergekit's methods with every rounding spelled out, one element at a time: once as torch's kernels round on a CPU, once as
// ours do. Where the bytes of a result differ, this says at which operation.
import type { MergeJob } from "../../merge-core/plan/plan.ts";

export interface Rounding {
  /** What inputs and the result of every operation are rounded to; operations themselves are those of float32. */
  readonly dtype: string;
  /** w x + s is rounded once (a fused multiply-add), not after the product and after the sum. */
  readonly fused: boolean;
  /** t / x is t times the rounded 1 / x. */
  readonly reciprocal: boolean;
  /** Each model's share of an average is divided before the sum, not the sum. */
  readonly dividesFirst: boolean;
}

/** float32 throughout, each operation rounded once. */
export const OURS: Rounding = { dtype: "F32", fused: false, reciprocal: false, dividesFirst: false };
/** torch 2 on x86 with AVX2. */
export const TORCH: Rounding = { dtype: "F32", fused: true, reciprocal: true, dividesFirst: true };

/** Bits of the mantissa and the exponent of the smallest normal number. */
const FORMATS: Readonly<Record<string, readonly [bits: number, smallest: number]>> = { F32: [23, -126], F16: [10, -14], BF16: [7, -126] };

/** A number of float64 to the nearest one of the dtype, ties to even; not for numbers beyond its largest. */
export function roundTo(dtype: string, x: number): number {
  if (dtype === "F32" || x === 0 || !Number.isFinite(x)) return Math.fround(x);
  const [bits = 23, smallest = -126] = FORMATS[dtype] ?? [];
  const unit = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), smallest) - bits);
  const steps = x / unit;
  const below = Math.floor(steps);
  const over = steps - below;
  return (over > 0.5 || (over === 0.5 && below % 2 !== 0) ? below + 1 : below) * unit;
}

const bits = new DataView(new ArrayBuffer(8));

/** a b + c of float32 numbers, rounded once: the sum in float64 is rounded to odd first, so that rounding it again does no harm. */
export function fusedMultiplyAdd(a: number, b: number, c: number): number {
  const product = a * b;
  const sum = product + c;
  const virtual = sum - product;
  const lost = product - (sum - virtual) + (c - virtual);
  if (lost === 0 || !Number.isFinite(sum)) return Math.fround(sum);
  bits.setFloat64(0, sum);
  const pattern = bits.getBigUint64(0);
  if ((pattern & 1n) === 0n) bits.setBigUint64(0, lost > 0 === sum > 0 ? pattern + 1n : pattern - 1n);
  return Math.fround(bits.getFloat64(0));
}

/** One output element from those of the inputs, and of ramplus_tl from the models' factors. */
type Element = (values: readonly number[], job: MergeJob, rounding: Rounding, factors: readonly number[]) => number;

const f = Math.fround;
const weightsOf = ({ inputs }: MergeJob): number[] => inputs.filter(({ isBase }) => !isBase).map(({ parameters }) => f(parameters.weight ?? 0));
const floatSum = (values: readonly number[]): number => values.reduce((sum, value) => f(sum + value), 0);

const linear: Element = (values, { inputs, parameters }, { fused }) => {
  const weights = inputs.map((input) => f(input.parameters.weight ?? 0));
  const sum = values.reduce((s, x, i) => (fused ? fusedMultiplyAdd(x, weights[i] ?? 0, s) : f(s + f(x * (weights[i] ?? 0)))), 0);
  return parameters.normalize === 0 ? sum : f(sum / floatSum(weights));
};

const taskArithmetic: Element = (values, job, { dtype }) => {
  const round = (x: number) => roundTo(dtype, f(x));
  const base = values[job.inputs.findIndex(({ isBase }) => isBase)] ?? 0;
  const weights = weightsOf(job).map(round);
  const deltas = values.filter((_, i) => job.inputs[i]?.isBase === false).map((x) => round(x - base));
  const weighted = deltas.map((delta, i) => round(delta * (weights[i] ?? 0)));
  const mixed = round(floatSum(weighted));
  const normalized = job.parameters.normalize === 0 ? mixed : round(mixed / round(floatSum(weights)));
  return round(base + round(normalized * f(job.parameters.lambda ?? 1)));
};

/** At density 1: per element what agrees in sign with the sum. */
const ties: Element = (values, job, { dtype }) => {
  const round = (x: number) => roundTo(dtype, f(x));
  const base = values[job.inputs.findIndex(({ isBase }) => isBase)] ?? 0;
  const weights = weightsOf(job).map(round);
  const weighted = values.filter((_, i) => job.inputs[i]?.isBase === false).map((x, i) => round(round(x - base) * (weights[i] ?? 0)));
  const sign = round(floatSum(weighted)) >= 0 ? 1 : -1;
  const agrees = weighted.map((x) => Math.sign(x) === sign);
  const mixed = round(floatSum(weighted.map((x, i) => (agrees[i] ? x : 0))));
  const divisor = round(floatSum(weights.map((w, i) => (agrees[i] ? w : 0))));
  return round(base + round(mixed / (divisor === 0 ? 1 : divisor)));
};

const nearswap: Element = ([a = 0, b = 0], { inputs, parameters }, { reciprocal }) => {
  const [base, other] = inputs[0]?.isBase === true ? [a, b] : [b, a];
  const distance = Math.max(Math.abs(f(base - other)), f(1e-6));
  const t = f(parameters.t ?? 0);
  const share = Math.min(reciprocal ? f(f(1 / distance) * t) : f(t / distance), 1);
  return f(f(share * other) + f(f(1 - share) * base));
};

const ram: Element = (values, { inputs, parameters }, { dividesFirst }, factors) => {
  const base = values[inputs.findIndex(({ isBase }) => isBase)] ?? 0;
  const deltas = values.filter((_, i) => inputs[i]?.isBase === false).map((x) => f(x - base));
  const changes = deltas.map((delta) => (Math.abs(delta) > f(parameters.epsilon ?? 0) ? delta : 0));
  const count = Math.max(changes.filter((x) => x !== 0).length, 1);
  if (count === 1) return f(base + floatSum(changes.map((x, i) => f(x * (factors[i] ?? 1)))));
  return f(base + (dividesFirst ? floatSum(changes.map((x) => f(x / count))) : f(floatSum(changes) / count)));
};

/** How much the changes that one model alone has made are enlarged, per model; counts over the tensor. */
function enlargements(operands: readonly Float32Array[], { inputs, parameters }: MergeJob): number[] {
  const base = operands[inputs.findIndex(({ isBase }) => isBase)];
  const others = operands.filter((_, i) => inputs[i]?.isBase === false);
  const active = others.map((values) => values.map((x, i) => (Math.abs(f(x - (base?.[i] ?? 0))) > f(parameters.epsilon ?? 0) ? 1 : 0)));
  const together = (i: number) => active.reduce((sum, model) => sum + (model[i] ?? 0), 0);
  return active.map((model) => {
    const shared = model.filter((x, i) => x === 1 && together(i) > 1).length;
    const unique = model.filter((x, i) => x === 1 && together(i) === 1).length;
    const rho = Math.min(Math.max(f(shared / Math.max(unique, parameters.epsilon ?? 0)), 0), parameters.alpha ?? 0);
    return f(1 + f(f(parameters.r ?? 0) * f(rho)));
  });
}

const METHODS: Readonly<Record<string, Element>> = { linear, task_arithmetic: taskArithmetic, ties, nearswap, ram, ramplus_tl: ram };

/** The tensor of a job by one way of rounding; `dtype` is what it is saved in. */
export function emulate(job: MergeJob, operands: readonly Float32Array[], rounding: Rounding, dtype: string): Float32Array {
  const element = METHODS[job.method];
  if (element === undefined) throw new Error(`${job.method} is not emulated`);
  const count = job.shape.reduce((a, b) => a * b, 1);
  const factors = job.method === "ramplus_tl" ? enlargements(operands, job) : [];
  const valuesAt = (i: number) => operands.map((values) => roundTo(rounding.dtype, values[i] ?? 0));
  return Float32Array.from({ length: count }, (_, i) => roundTo(dtype, element(valuesAt(i), job, rounding, factors)));
}

/** W + scale B A, the product summed up in float32 from the first rank to the last. */
export function addAdapter(
  values: Float32Array,
  { a, b, rank, scale }: { readonly a: Float32Array; readonly b: Float32Array; readonly rank: number; readonly scale: number },
  { fused }: Rounding,
): Float32Array {
  const columns = a.length / rank;
  return values.map((value, i) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      const [x, y] = [b[Math.floor(i / columns) * rank + k] ?? 0, a[k * columns + (i % columns)] ?? 0];
      sum = fused ? fusedMultiplyAdd(x, y, sum) : f(sum + f(x * y));
    }
    return f(value + f(sum * scale));
  });
}
