// C = A * B, C += A * B or C -= A * B in float64, blocked as kernels/gemm.ts is, with a 4x4 micro-kernel. Each element of C is
// the sum over k in order within blocks of KC, blocks added in order, whatever range of C a caller asks for.

import { ADD, SET } from "./gemm-modes";

const MC: i32 = 96;
const KC: i32 = 256;
const NC: i32 = 512;

/** Bytes of scratch that one thread needs for `columns` columns. */
export function gemm64ScratchBytes(columns: i32): i32 {
  return (MC * KC + KC * ((min<i32>(NC, columns) + 3) & ~3) + 16) * 8;
}

/** Rows [m0,m1) and columns [n0,n1) of C, whose columns are contiguous; strides in elements. `scratch` is private to the thread. */
export function gemm64(
  m0: i32, m1: i32, n0: i32, n1: i32, depth: i32,
  a: usize, rsa: i32, csa: i32,
  b: usize, rsb: i32, csb: i32,
  c: usize, ldc: i32, mode: i32, scratch: usize,
): void {
  const tile = scratch;
  const packedA = scratch + 128;
  const packedB = packedA + ((MC * KC) << 3);
  for (let jc = n0; jc < n1; jc += NC) {
    const nc = min<i32>(NC, n1 - jc);
    for (let pc = 0; pc < depth; pc += KC) {
      const kc = min<i32>(KC, depth - pc);
      pack(packedB, b + ((<usize>pc * <usize>rsb + <usize>jc * <usize>csb) << 3), nc, kc, csb, rsb);
      const blockMode = pc == 0 || mode != SET ? mode : ADD;
      for (let ic = m0; ic < m1; ic += MC) {
        const mc = min<i32>(MC, m1 - ic);
        pack(packedA, a + ((<usize>ic * <usize>rsa + <usize>pc * <usize>csa) << 3), mc, kc, rsa, csa);
        block(mc, nc, kc, packedA, packedB, c + ((<usize>ic * <usize>ldc + <usize>jc) << 3), ldc, blockMode, tile);
      }
    }
  }
}

function block(mc: i32, nc: i32, kc: i32, packedA: usize, packedB: usize, c: usize, ldc: i32, mode: i32, tile: usize): void {
  for (let j = 0; j < nc; j += 4) {
    const pb = packedB + (<usize>(j * kc) << 3);
    for (let i = 0; i < mc; i += 4) {
      const pa = packedA + (<usize>(i * kc) << 3);
      const to = c + ((<usize>i * <usize>ldc + <usize>j) << 3);
      if (i + 4 <= mc && j + 4 <= nc) {
        micro(kc, pa, pb, to, <usize>ldc << 3, mode);
      } else {
        micro(kc, pa, pb, tile, 32, SET);
        copyEdge(min<i32>(4, mc - i), min<i32>(4, nc - j), tile, to, ldc, mode);
      }
    }
  }
}

function copyEdge(rows: i32, columns: i32, tile: usize, c: usize, ldc: i32, mode: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const to = c + ((<usize>i * <usize>ldc + <usize>j) << 3);
      const value = load<f64>(tile + (<usize>(i * 4 + j) << 3));
      store<f64>(to, mode == SET ? value : mode == ADD ? load<f64>(to) + value : load<f64>(to) - value);
    }
  }
}

// @ts-ignore: decorator
@inline
function madd(acc: v128, x: v128, y: v128): v128 {
  return f64x2.add(acc, f64x2.mul(x, y));
}

// @ts-ignore: decorator
@inline
function put(to: usize, x: v128, mode: i32): void {
  v128.store(to, mode == SET ? x : mode == ADD ? f64x2.add(v128.load(to), x) : f64x2.sub(v128.load(to), x));
}

/** A 4x4 tile from kc packed columns of A and rows of B; `stride` of C in bytes. */
function micro(kc: i32, a: usize, b: usize, c: usize, stride: usize, mode: i32): void {
  let c00 = f64x2.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  for (let k = 0; k < kc; k++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load64_splat(a);
    c00 = madd(c00, x, b0);
    c01 = madd(c01, x, b1);
    x = v128.load64_splat(a, 8);
    c10 = madd(c10, x, b0);
    c11 = madd(c11, x, b1);
    x = v128.load64_splat(a, 16);
    c20 = madd(c20, x, b0);
    c21 = madd(c21, x, b1);
    x = v128.load64_splat(a, 24);
    c30 = madd(c30, x, b0);
    c31 = madd(c31, x, b1);
    a += 32;
    b += 32;
  }
  put(c, c00, mode);
  put(c + 16, c01, mode);
  c += stride;
  put(c, c10, mode);
  put(c + 16, c11, mode);
  c += stride;
  put(c, c20, mode);
  put(c + 16, c21, mode);
  c += stride;
  put(c, c30, mode);
  put(c + 16, c31, mode);
}

/** Slivers of four lines, out[line / 4][k][line % 4]; missing lines of the last are zero. `stride` steps between lines, `kStride` along k. */
function pack(out: usize, from: usize, lines: i32, kc: i32, stride: i32, kStride: i32): void {
  const lineBytes = <usize>stride << 3;
  const step = <usize>kStride << 3;
  for (let at = 0; at < lines; at += 4) {
    const present = min<i32>(4, lines - at);
    const source = from + <usize>at * lineBytes;
    if (present == 4 && stride == 1) packStraight(out, source, kc, step);
    else if (present == 4 && kStride == 1) packTransposed(out, source, kc, lineBytes);
    else packAny(out, source, present, kc, lineBytes, step);
    out += <usize>kc << 5;
  }
}

/** Four lines lie side by side: two vectors per k. */
function packStraight(out: usize, from: usize, kc: i32, step: usize): void {
  for (let k = 0; k < kc; k++) {
    v128.store(out, v128.load(from));
    v128.store(out, v128.load(from, 16), 16);
    from += step;
    out += 32;
  }
}

/** Each of four lines is contiguous along k: 2x2 transposes. */
function packTransposed(out: usize, from: usize, kc: i32, stride: usize): void {
  let r0 = from, r1 = r0 + stride, r2 = r1 + stride, r3 = r2 + stride;
  const even = kc & ~1;
  for (let k = 0; k < even; k += 2) {
    const x0 = v128.load(r0), x1 = v128.load(r1), x2 = v128.load(r2), x3 = v128.load(r3);
    v128.store(out, i64x2.shuffle(x0, x1, 0, 2));
    v128.store(out, i64x2.shuffle(x2, x3, 0, 2), 16);
    v128.store(out, i64x2.shuffle(x0, x1, 1, 3), 32);
    v128.store(out, i64x2.shuffle(x2, x3, 1, 3), 48);
    r0 += 16;
    r1 += 16;
    r2 += 16;
    r3 += 16;
    out += 64;
  }
  if (even < kc) packAny(out, from + (<usize>even << 3), 4, 1, stride, 8);
}

function packAny(out: usize, from: usize, present: i32, kc: i32, stride: usize, step: usize): void {
  for (let k = 0; k < kc; k++) {
    for (let i = 0; i < 4; i++) store<f64>(out + (<usize>i << 3), i < present ? load<f64>(from + <usize>i * stride) : 0);
    out += 32;
    from += step;
  }
}
