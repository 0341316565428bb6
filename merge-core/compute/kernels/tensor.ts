// Element-wise operations, reductions and data movement on float32 tensors. Pointers in bytes, sizes and strides in elements.
import { exp4, log4, sigmoid4, tanh4 } from "./math";

// Codes shared with nn/kernels: keep in step.
const ADD: i32 = 0, SUB: i32 = 1, MUL: i32 = 2, DIV: i32 = 3, MAX: i32 = 4, MIN: i32 = 5, SQUARED_DIFFERENCE: i32 = 6;
const SQUARE: i32 = 0, SQRT: i32 = 1, RSQRT: i32 = 2, NEG: i32 = 3, SIGMOID: i32 = 4, EXP: i32 = 5, LOG: i32 = 6, TANH: i32 = 7, RELU: i32 = 8, ABS: i32 = 9;

// @ts-ignore: decorator
@inline
function at(base: usize, index: i32): usize {
  return base + (<usize>index << 2);
}

// @ts-ignore: decorator
@inline
function apply2(op: i32, x: v128, y: v128): v128 {
  if (op == ADD) return f32x4.add(x, y);
  if (op == SUB) return f32x4.sub(x, y);
  if (op == MUL) return f32x4.mul(x, y);
  if (op == DIV) return f32x4.div(x, y);
  if (op == MAX) return f32x4.max(x, y);
  if (op == MIN) return f32x4.min(x, y);
  const d = f32x4.sub(x, y);
  return f32x4.mul(d, d);
}

/** One run of n elements; strides are 1 or 0 (a repeated scalar). */
// @ts-ignore: decorator
@inline
function run2(op: i32, a: usize, sa: i32, b: usize, sb: i32, out: usize, n: i32): void {
  const stepA = <usize>(sa << 4), stepB = <usize>(sb << 4);
  const wholeA = sa == 1, wholeB = sb == 1;
  const splatA = v128.load32_splat(a), splatB = v128.load32_splat(b);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const x = wholeA ? v128.load(a) : splatA;
    const y = wholeB ? v128.load(b) : splatB;
    v128.store(out, apply2(op, x, y));
    a += stepA;
    b += stepB;
    out += 16;
  }
  for (; i < n; i++) {
    store<f32>(out, f32x4.extract_lane(apply2(op, v128.load32_splat(a), v128.load32_splat(b)), 0));
    a += <usize>(sa << 2);
    b += <usize>(sb << 2);
    out += 4;
  }
}

// @ts-ignore: decorator
@inline
function grid2(op: i32, a: usize, b: usize, out: usize, n0: i32, n1: i32, n2: i32, a0: i32, a1: i32, a2: i32, b0: i32, b1: i32, b2: i32): void {
  for (let i = 0; i < n0; i++) {
    for (let j = 0; j < n1; j++) {
      run2(op, at(a, i * a0 + j * a1), a2, at(b, i * b0 + j * b1), b2, out, n2);
      out = at(out, n2);
    }
  }
}

/** out[n0][n1][n2] = op(a, b), each operand with its own strides (0 = broadcast); the last strides are 0 or 1. */
export function binary(
  op: i32, a: usize, b: usize, out: usize, n0: i32, n1: i32, n2: i32, a0: i32, a1: i32, a2: i32, b0: i32, b1: i32, b2: i32,
): void {
  if (op == ADD) grid2(ADD, a, b, out, n0, n1, n2, a0, a1, a2, b0, b1, b2);
  else if (op == SUB) grid2(SUB, a, b, out, n0, n1, n2, a0, a1, a2, b0, b1, b2);
  else if (op == MUL) grid2(MUL, a, b, out, n0, n1, n2, a0, a1, a2, b0, b1, b2);
  else if (op == DIV) grid2(DIV, a, b, out, n0, n1, n2, a0, a1, a2, b0, b1, b2);
  else if (op == MAX) grid2(MAX, a, b, out, n0, n1, n2, a0, a1, a2, b0, b1, b2);
  else if (op == MIN) grid2(MIN, a, b, out, n0, n1, n2, a0, a1, a2, b0, b1, b2);
  else grid2(SQUARED_DIFFERENCE, a, b, out, n0, n1, n2, a0, a1, a2, b0, b1, b2);
}

// @ts-ignore: decorator
@inline
function apply1(op: i32, x: v128): v128 {
  if (op == SQUARE) return f32x4.mul(x, x);
  if (op == SQRT) return f32x4.sqrt(x);
  if (op == RSQRT) return f32x4.div(f32x4.splat(1), f32x4.sqrt(x));
  if (op == NEG) return f32x4.neg(x);
  if (op == SIGMOID) return sigmoid4(x);
  if (op == EXP) return exp4(x);
  if (op == LOG) return log4(x);
  if (op == TANH) return tanh4(x);
  if (op == RELU) return f32x4.max(x, f32x4.splat(0));
  return f32x4.abs(x);
}

// @ts-ignore: decorator
@inline
function run1(op: i32, x: usize, out: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) v128.store(at(out, i), apply1(op, v128.load(at(x, i))));
  for (; i < n; i++) store<f32>(at(out, i), f32x4.extract_lane(apply1(op, v128.load32_splat(at(x, i))), 0));
}

export function unary(op: i32, x: usize, out: usize, n: i32): void {
  if (op == SQUARE) run1(SQUARE, x, out, n);
  else if (op == SQRT) run1(SQRT, x, out, n);
  else if (op == RSQRT) run1(RSQRT, x, out, n);
  else if (op == NEG) run1(NEG, x, out, n);
  else if (op == SIGMOID) run1(SIGMOID, x, out, n);
  else if (op == EXP) run1(EXP, x, out, n);
  else if (op == LOG) run1(LOG, x, out, n);
  else if (op == TANH) run1(TANH, x, out, n);
  else if (op == RELU) run1(RELU, x, out, n);
  else run1(ABS, x, out, n);
}

/** out[i] = condition[i] ? a[i] : b[i]; the condition holds one byte an element. */
export function selectWhere(condition: usize, a: usize, b: usize, out: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(at(out, i), load<u8>(condition + <usize>i) ? load<f32>(at(a, i)) : load<f32>(at(b, i)));
}

/** out[i] = float(x[i]) */
export function intToFloat(x: usize, out: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(at(out, i), <f32>load<i32>(at(x, i)));
}

/** out[i] = x[i] toward zero, saturating */
export function floatToInt(x: usize, out: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<i32>(at(out, i), i32x4.extract_lane(i32x4.trunc_sat_f32x4_s(v128.load32_splat(at(x, i))), 0));
}

export function boolToFloat(x: usize, out: usize, n: i32): void {
  for (let i = 0; i < n; i++) store<f32>(at(out, i), load<u8>(x + <usize>i) ? 1 : 0);
}

// @ts-ignore: decorator
@inline
function low(x: v128): v128 {
  return f64x2.promote_low_f32x4(x);
}

// @ts-ignore: decorator
@inline
function high(x: v128): v128 {
  return f64x2.promote_low_f32x4(i64x2.shuffle(x, x, 1, 0));
}

/** Sum of n values in float64: four lanes in index order, added at the end. */
// @ts-ignore: decorator
@inline
function sumRun(x: usize, n: i32): f64 {
  let a = f64x2.splat(0), b = a;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const v = v128.load(at(x, i));
    a = f64x2.add(a, low(v));
    b = f64x2.add(b, high(v));
  }
  a = f64x2.add(a, b);
  let sum = f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1);
  for (; i < n; i++) sum += <f64>load<f32>(at(x, i));
  return sum;
}

/** out[r] = scale * sum of row r */
export function sumRows(x: usize, out: usize, rows: i32, n: i32, scale: f64): void {
  for (let r = 0; r < rows; r++) store<f32>(at(out, r), <f32>(sumRun(at(x, r * n), n) * scale));
}

export function maxRows(x: usize, out: usize, rows: i32, n: i32): void {
  for (let r = 0; r < rows; r++) store<f32>(at(out, r), maxRun(at(x, r * n), n));
}

/** Largest of n values; NaN if any is NaN. */
export function maxRun(x: usize, n: i32): f32 {
  let m = f32x4.splat(-Infinity);
  let i = 0;
  for (; i + 4 <= n; i += 4) m = f32x4.max(m, v128.load(at(x, i)));
  let best = max<f32>(max<f32>(f32x4.extract_lane(m, 0), f32x4.extract_lane(m, 1)), max<f32>(f32x4.extract_lane(m, 2), f32x4.extract_lane(m, 3)));
  for (; i < n; i++) best = max<f32>(best, load<f32>(at(x, i)));
  return best;
}

/** out[j] = scale * sum over rows of x[row][j], for columns [j0, j1) of a matrix `n` wide; float64 inside, rows in order. */
export function sumColumns(x: usize, out: usize, rows: i32, n: i32, j0: i32, j1: i32, scale: f64): void {
  const factor = f64x2.splat(scale);
  let j = j0;
  for (; j + 8 <= j1; j += 8) {
    let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0;
    let from = at(x, j);
    for (let r = 0; r < rows; r++) {
      const v = v128.load(from), w = v128.load(from, 16);
      s0 = f64x2.add(s0, low(v));
      s1 = f64x2.add(s1, high(v));
      s2 = f64x2.add(s2, low(w));
      s3 = f64x2.add(s3, high(w));
      from = at(from, n);
    }
    storePair(at(out, j), f64x2.mul(s0, factor), f64x2.mul(s1, factor));
    storePair(at(out, j + 4), f64x2.mul(s2, factor), f64x2.mul(s3, factor));
  }
  for (; j < j1; j++) {
    let sum: f64 = 0;
    for (let r = 0; r < rows; r++) sum += <f64>load<f32>(at(x, r * n + j));
    store<f32>(at(out, j), <f32>(sum * scale));
  }
}

// @ts-ignore: decorator
@inline
function storePair(to: usize, a: v128, b: v128): void {
  v128.store(to, i64x2.shuffle(f32x4.demote_f64x2_zero(a), f32x4.demote_f64x2_zero(b), 0, 2));
}

/** Any view of 32-bit elements made whole: out[n0][n1][n2][n3] = x at i0*s0 + i1*s1 + i2*s2 + i3*s3 (transpose, broadcast, slice, tile). */
export function stridedCopy(x: usize, out: usize, n0: i32, n1: i32, n2: i32, n3: i32, s0: i32, s1: i32, s2: i32, s3: i32): void {
  for (let i = 0; i < n0; i++) {
    for (let j = 0; j < n1; j++) {
      const from = at(x, i * s0 + j * s1);
      if (s3 == 1) {
        for (let k = 0; k < n2; k++) memory.copy(at(out, k * n3), at(from, k * s2), <usize>n3 << 2);
      } else if (s2 == 1) {
        transpose(from, out, n3, n2, s3);
      } else {
        for (let k = 0; k < n2; k++) for (let l = 0; l < n3; l++) store<u32>(at(out, k * n3 + l), load<u32>(at(from, k * s2 + l * s3)));
      }
      out = at(out, n2 * n3);
    }
  }
}

/** out[column][row] = x[row][column] by squares of 4; `stride` between rows of x. */
function transpose(x: usize, out: usize, rows: i32, columns: i32, stride: i32): void {
  const wholeRows = rows & ~3, wholeColumns = columns & ~3;
  for (let j = 0; j < wholeColumns; j += 4) {
    for (let i = 0; i < wholeRows; i += 4) square(at(x, i * stride + j), <usize>stride << 2, at(out, j * rows + i), <usize>rows << 2);
  }
  for (let j = 0; j < columns; j++) {
    for (let i = j < wholeColumns ? wholeRows : 0; i < rows; i++) store<u32>(at(out, j * rows + i), load<u32>(at(x, i * stride + j)));
  }
}

// @ts-ignore: decorator
@inline
function square(from: usize, stride: usize, to: usize, step: usize): void {
  const x0 = v128.load(from), x1 = v128.load(from + stride), x2 = v128.load(from + stride * 2), x3 = v128.load(from + stride * 3);
  const lo01 = i32x4.shuffle(x0, x1, 0, 4, 1, 5), hi01 = i32x4.shuffle(x0, x1, 2, 6, 3, 7);
  const lo23 = i32x4.shuffle(x2, x3, 0, 4, 1, 5), hi23 = i32x4.shuffle(x2, x3, 2, 6, 3, 7);
  v128.store(to, i64x2.shuffle(lo01, lo23, 0, 2));
  v128.store(to + step, i64x2.shuffle(lo01, lo23, 1, 3));
  v128.store(to + step * 2, i64x2.shuffle(hi01, hi23, 0, 2));
  v128.store(to + step * 3, i64x2.shuffle(hi01, hi23, 1, 3));
}

/** out[i] = x[index[i]], rows of n elements; an index outside [0, limit) gives a row of zeros. */
export function gatherRows(x: usize, index: usize, out: usize, count: i32, n: i32, limit: i32): void {
  const bytes = <usize>n << 2;
  for (let i = 0; i < count; i++) {
    const row = load<i32>(at(index, i));
    if (<u32>row < <u32>limit) memory.copy(at(out, i * n), at(x, row * n), bytes);
    else memory.fill(at(out, i * n), 0, bytes);
  }
}

/** out[index[i]] += x[i] over columns [j0, j1) of rows of n elements, i in order; out is cleared there first. Indices outside [0, limit) are dropped. */
export function scatterAddRows(x: usize, index: usize, out: usize, count: i32, n: i32, limit: i32, j0: i32, j1: i32): void {
  for (let r = 0; r < limit; r++) memory.fill(at(out, r * n + j0), 0, <usize>(j1 - j0) << 2);
  for (let i = 0; i < count; i++) {
    const row = load<i32>(at(index, i));
    if (<u32>row >= <u32>limit) continue;
    const to = at(out, row * n), from = at(x, i * n);
    let j = j0;
    for (; j + 4 <= j1; j += 4) v128.store(at(to, j), f32x4.add(v128.load(at(to, j)), v128.load(at(from, j))));
    for (; j < j1; j++) store<f32>(at(to, j), load<f32>(at(to, j)) + load<f32>(at(from, j)));
  }
}

/** Rows of `bytes` from one pitch to another (concatenate, split, slice). */
export function copyRows(from: usize, fromPitch: i32, to: usize, toPitch: i32, rows: i32, bytes: i32): void {
  for (let r = 0; r < rows; r++) {
    memory.copy(to, from, <usize>bytes);
    from += <usize>fromPitch;
    to += <usize>toPitch;
  }
}
