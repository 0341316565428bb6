// exp and tanh as formulas of the basic operations, so that their bits are the same everywhere.
import { abs, add, compare, constant, div, type Expr, mul, select, sub } from "../compute/expr.ts";

/** Arguments of the series. */
const LARGEST_ARGUMENT = 0.5;
/** Half a unit in the last place of float32. */
const HALF_UNIT = 2 ** -25;

/** exp(factor x) for |factor x| <= largest: Taylor's series at factor x / 2^k, squared k times. Relative error about 2^k roundings. */
export function exp(x: Expr, largest: number, factor = 1): Expr {
  const halvings = Math.max(0, Math.ceil(Math.log2(largest / LARGEST_ARGUMENT)));
  const small = mul(x, constant(factor * 2 ** -halvings));
  let result = polynomial(small, exponentialSeries(largest * 2 ** -halvings).map(constant));
  for (let i = 0; i < halvings; i++) result = mul(result, result);
  return result;
}

/** 1 / k!, highest power first, as many as make a difference in float32 up to `largest`. */
function exponentialSeries(largest: number): number[] {
  const terms = [1];
  for (let k = 1, left = largest; left > HALF_UNIT; k++, left *= largest / k) terms.unshift((terms[0] as number) / k);
  return terms;
}

/** By Horner's rule; coefficients from the highest power on. */
function polynomial(x: Expr, [first = constant(0), ...others]: readonly Expr[]): Expr {
  return others.reduce((sum, c) => add(mul(sum, x), c), first);
}

/** Where the series gives way to the exponential. */
const NEAR = 0.625;
/** tanh is 1 in float32 from here on. */
const FAR = 10;
/** Of the Cephes library (Moshier, single precision). */
const SERIES = [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1].map(constant);

export function tanh(x: Expr): Expr {
  const size = abs(x);
  const square = mul(x, x);
  const series = polynomial(square, SERIES);
  const near = add(x, mul(mul(series, square), x));
  const bounded: Expr = { op: "min", a: size, b: constant(FAR) };
  const far = sub(constant(1), div(constant(2), add(exp(mul(bounded, constant(2)), 2 * FAR), constant(1))));
  return select(compare("lt", size, constant(NEAR)), near, select(compare("lt", x, constant(0)), sub(constant(0), far), far));
}

/** tanh(x) / x = (1 + a z + b z^2) / (1 + c z + d z^2) with z = x^2, fitted to the least relative error for z from 0 to 1: 2e-10. */
const NUMERATOR = [1.033130568e-3, 1.107261926e-1, 1].map(constant);
const DENOMINATOR = [1.57197006e-2, 4.44059521e-1, 1].map(constant);

/** tanh(x) for |x| <= 1, at most 4 units in the last place off. */
export function nearTanh(x: Expr): Expr {
  const square = mul(x, x);
  return div(mul(x, polynomial(square, NUMERATOR)), polynomial(square, DENOMINATOR));
}
