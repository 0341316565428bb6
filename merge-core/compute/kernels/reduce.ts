// Reductions in float64 over blocks of 4096 elements. Element i of a block goes to lane i mod 4; a block's value is
// (lane 0 + lane 1) + (lane 2 + lane 3). That order is fixed, so the value depends on nothing but the data.
// `state` holds the four lanes between the chunks of a block.
import { ties } from "./select";

export const SUM = 0;
export const SUM_ABS = 1;
export const SUM_SQUARES = 2;
export const DOT = 3;
export const COUNT_NON_ZERO = 4;
export const COUNT_TIES = 5;
export const MAX_ABS = 6;

/** What an element adds, as two f64 lanes from the low half of x and y. */
@inline
function term(op: i32, x: v128, y: v128): v128 {
  const a = f64x2.promote_low_f32x4(x);
  if (op == SUM_SQUARES) return f64x2.mul(a, a);
  return op == DOT ? f64x2.mul(a, f64x2.promote_low_f32x4(y)) : a;
}

/** Four float lanes to reduce: the value itself, or one where it counts. */
@inline
function prepare(op: i32, x: v128, key: i32): v128 {
  if (op == SUM_ABS || op == MAX_ABS) return f32x4.abs(x);
  if (op == COUNT_NON_ZERO) return v128.and(f32x4.ne(x, f32x4.splat(0)), f32x4.splat(1));
  return op == COUNT_TIES ? v128.and(ties(x, key), f32x4.splat(1)) : x;
}

@inline
function accumulate(op: i32, sum: v128, value: v128): v128 {
  return op == MAX_ABS ? f64x2.max(sum, value) : f64x2.add(sum, value);
}

/** Adds `n` elements to the lanes in `state`. A last group of fewer than four is filled up with +0, which changes nothing. */
@inline
export function reduce(op: i32, state: usize, a: usize, aStep: usize, b: usize, bStep: usize, key: i32, n: i32): void {
  let low = v128.load(state);
  let high = v128.load(state, 16);
  for (let i = 0; i < n; i += 4) {
    let x = prepare(op, v128.load(a), key);
    let y = op == DOT ? v128.load(b) : x;
    if (n - i < 4) {
      const lanes = i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(n - i));
      x = v128.and(x, lanes);
      y = v128.and(y, lanes);
    }
    low = accumulate(op, low, term(op, x, y));
    high = accumulate(op, high, term(op, v128.shuffle<i64>(x, x, 1, 1), v128.shuffle<i64>(y, y, 1, 1)));
    a += aStep;
    b += bStep;
  }
  v128.store(state, low);
  v128.store(state, high, 16);
}

/** The block's value; leaves the lanes at zero for the next block. */
@inline
export function finishBlock(op: i32, state: usize): f64 {
  const a = load<f64>(state);
  const b = load<f64>(state, 8);
  const c = load<f64>(state, 16);
  const d = load<f64>(state, 24);
  memory.fill(state, 0, 32);
  return op == MAX_ABS ? max(max(a, b), max(c, d)) : (a + b) + (c + d);
}
