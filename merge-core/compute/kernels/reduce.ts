// Reductions in float64 over blocks of 4096 elements. Element i of a block goes to lane i mod 4; a block's value is
// (lane 0 + lane 1) + (lane 2 + lane 3). That order is fixed, so the value depends on nothing but the data.
// `state` holds the four lanes between the chunks of a block.
import { laneSum } from "./dtypes";
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

@inline
function accumulate(op: i32, sum: v128, value: v128): v128 {
  return op == MAX_ABS ? f64x2.max(sum, value) : f64x2.add(sum, value);
}

/** Lanes 0 to 3 of a group at position i that lie before n, as -1. */
@inline
function before(i: i32, n: i32): v128 {
  return i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(n - i));
}

/** Adds `n` elements to the lanes in `state`. A last group of fewer than four is filled up with +0, which changes nothing. */
@inline
export function reduce(op: i32, state: usize, a: usize, aStep: usize, b: usize, bStep: usize, n: i32): void {
  const isAbsolute = op == SUM_ABS || op == MAX_ABS;
  let low = v128.load(state);
  let high = v128.load(state, 16);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const x = isAbsolute ? f32x4.abs(v128.load(a)) : v128.load(a);
    const y = op == DOT ? v128.load(b) : x;
    low = accumulate(op, low, term(op, x, y));
    high = accumulate(op, high, term(op, v128.shuffle<i64>(x, x, 1, 1), v128.shuffle<i64>(y, y, 1, 1)));
    a += aStep;
    b += bStep;
  }
  if (i < n) {
    const z = v128.and(v128.load(a), before(i, n));
    const x = isAbsolute ? f32x4.abs(z) : z;
    const y = op == DOT ? v128.and(v128.load(b), before(i, n)) : x;
    low = accumulate(op, low, term(op, x, y));
    high = accumulate(op, high, term(op, v128.shuffle<i64>(x, x, 1, 1), v128.shuffle<i64>(y, y, 1, 1)));
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

@inline
function hit(op: i32, x: v128, key: i32): v128 {
  return op == COUNT_TIES ? ties(x, key) : f32x4.ne(x, f32x4.splat(0));
}

/** Counts in four integer lanes: non-zero elements, or those whose magnitude has the key. */
@inline
export function count(op: i32, state: usize, a: usize, aStep: usize, key: i32, n: i32): void {
  let sum = v128.load(state);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    sum = i32x4.sub(i32x4.sub(sum, hit(op, v128.load(a), key)), hit(op, v128.load(a + aStep), key));
    a += aStep << 1;
  }
  for (; i < n; i += 4) {
    sum = i32x4.sub(sum, v128.and(hit(op, v128.load(a), key), before(i, n)));
    a += aStep;
  }
  v128.store(state, sum);
}

@inline
export function finishCount(state: usize): f64 {
  const sum = laneSum(v128.load(state));
  memory.fill(state, 0, 16);
  return <f64>sum;
}
