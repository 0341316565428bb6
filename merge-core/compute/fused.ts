// Recognises formulas that are linear in the raw inputs, for which there is a kernel that keeps nothing in memory:
// linear(x...), add(base, linear(sub(x, base)...)), the sum optionally divided by a constant and then multiplied by one. The kernel does the same
// operations in the same order, so recognising a formula never changes a bit.
import type { FloatDType } from "../formats/dtypes.ts";
import type { Expr } from "./expr.ts";

export interface FusedLinear {
  readonly inType: FloatDType;
  readonly outType: FloatDType;
  readonly terms: readonly { readonly slot: number; readonly weight: number }[];
  readonly base: number | undefined;
  /** What the sum of terms is divided by, and then multiplied by. */
  readonly divisor: number | undefined;
  readonly scale: number | undefined;
  /** Every input it reads. */
  readonly inputs: readonly number[];
}

type Sum = Pick<FusedLinear, "terms" | "divisor" | "scale">;

const KERNEL_TYPES: ReadonlySet<FloatDType> = new Set<FloatDType>(["BF16", "F16", "F32"]);

/** The fused form of a stored formula, or undefined if it has none. */
export function matchLinear(expr: Expr, inputTypes: readonly FloatDType[], outType: FloatDType): FusedLinear | undefined {
  const base = expr.op === "add" ? baseOf(expr.a, expr.b) : undefined;
  const sum = base === undefined ? matchSum(expr, inputSlot) : base.sum;
  if (sum === undefined) return undefined;
  const inputs = [...new Set([...sum.terms.map((term) => term.slot), ...(base === undefined ? [] : [base.slot])])];
  const types = new Set(inputs.map((slot) => inputTypes[slot]));
  const inType = inputTypes[inputs[0] ?? -1];
  if (inType === undefined || types.size !== 1 || !KERNEL_TYPES.has(inType) || !KERNEL_TYPES.has(outType)) return undefined;
  return { inType, outType, ...sum, base: base?.slot, inputs };
}

function inputSlot(x: Expr): number | undefined {
  return x.op === "input" ? x.index : undefined;
}

/** add() commutes, so the base may stand on either side. */
function baseOf(a: Expr, b: Expr): { slot: number; sum: Sum } | undefined {
  for (const [base, rest] of [
    [a, b],
    [b, a],
  ] as const) {
    if (base.op !== "input") continue;
    const sum = matchSum(rest, (x) => (x.op === "sub" && x.b.op === "input" && x.b.index === base.index ? inputSlot(x.a) : undefined));
    if (sum !== undefined) return { slot: base.index, sum };
  }
  return undefined;
}

const plain = (terms: Sum["terms"]): Sum => ({ terms, divisor: undefined, scale: undefined });

function matchSum(expr: Expr, slotOf: (x: Expr) => number | undefined): Sum | undefined {
  if (expr.op === "div" && expr.a.op === "linear" && expr.b.op === "const") {
    const inner = matchSum(expr.a, slotOf);
    return inner === undefined || inner.scale !== undefined ? undefined : { ...inner, divisor: Math.fround(expr.b.value) };
  }
  if (expr.op !== "linear") {
    const slot = slotOf(expr);
    return slot === undefined ? undefined : plain([{ slot, weight: 1 }]);
  }
  const [only] = expr.terms;
  if (expr.terms.length === 1 && (only?.x.op === "linear" || only?.x.op === "div")) {
    const inner = matchSum(only.x, slotOf);
    return inner === undefined || inner.scale !== undefined ? undefined : { ...inner, scale: Math.fround(only.weight) };
  }
  const terms = expr.terms.flatMap(({ weight, x }) => {
    const slot = slotOf(x);
    return slot === undefined ? [] : [{ slot, weight: Math.fround(weight) }];
  });
  return terms.length === expr.terms.length && terms.length > 0 ? plain(terms) : undefined;
}
