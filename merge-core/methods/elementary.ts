// exp and tanh as formulas of the basic operations, so that their bits are the same everywhere.
import { abs, add, compare, constant, div, type Expr, mul, select, sub } from "../compute/expr.ts";

/** Taylor's series to this degree is exact in float32 for arguments up to a half. */
const DEGREE = 8;

/** exp(x) for |x| <= largest: the series at x / 2^k, squared k times. Relative error about 2^k roundings. */
export function exp(x: Expr, largest: number): Expr {
  const halvings = Math.max(0, Math.ceil(Math.log2(largest / 0.5)));
  const small = mul(x, constant(2 ** -halvings));
  let sum: Expr = constant(1 / DEGREE);
  for (let k = DEGREE - 1; k >= 1; k--) sum = mul(add(mul(sum, small), constant(1)), constant(1 / k));
  let result = add(mul(sum, small), constant(1));
  for (let i = 0; i < halvings; i++) result = mul(result, result);
  return result;
}

/** Where the series gives way to the exponential. */
const NEAR = 0.625;
/** tanh is 1 in float32 from here on. */
const FAR = 10;
/** Of the Cephes library (Moshier, single precision). */
const SERIES = [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1];

export function tanh(x: Expr): Expr {
  const size = abs(x);
  const square = mul(x, x);
  const series = SERIES.reduce((sum: Expr, c) => add(mul(sum, square), constant(c)), constant(0));
  const near = add(x, mul(mul(series, square), x));
  const bounded: Expr = { op: "min", a: size, b: constant(FAR) };
  const far = sub(constant(1), div(constant(2), add(exp(mul(bounded, constant(2)), 2 * FAR), constant(1))));
  return select(compare("lt", size, constant(NEAR)), near, select(compare("lt", x, constant(0)), sub(constant(0), far), far));
}
