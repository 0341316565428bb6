// C = A * B, C += A * B or C -= A * B in float32, any strides for A and B, C with contiguous columns. Strides are in elements.
// Blocking after Goto & van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): B is packed in panels of
// KC x NC cut into slivers of 8 columns, A in blocks of MC x KC cut into slivers of 4 rows, and a 4x8 micro-kernel keeps
// its 8 accumulators in registers (more spill in 16-register engines).
// Each element of C is the sum over k in order within blocks of KC, blocks added in order: the bits do not depend on the
// range [m0,m1) x [n0,n1) a caller asks for, so ranges can be given to threads.

import { ADD, SET } from "./gemm-modes";

const MC: i32 = 128;
const KC: i32 = 256;
const NC: i32 = 2048;

/** Bytes of scratch one thread needs to call `gemm` for `columns` columns. */
export function gemmScratchBytes(columns: i32): i32 {
  return (MC * KC + KC * ((min<i32>(NC, columns) + 7) & ~7) + 32) * 4;
}

/** `count` products whose operands lie `strideA`, `strideB`, `strideC` elements apart. */
export function gemmBatch(
  count: i32, strideA: i32, strideB: i32, strideC: i32,
  m: i32, n: i32, depth: i32,
  a: usize, rsa: i32, csa: i32,
  b: usize, rsb: i32, csb: i32,
  c: usize, ldc: i32, mode: i32, scratch: usize,
): void {
  for (let i = 0; i < count; i++) {
    gemm(0, m, 0, n, depth, a, rsa, csa, b, rsb, csb, c, ldc, mode, scratch);
    a += <usize>strideA << 2;
    b += <usize>strideB << 2;
    c += <usize>strideC << 2;
  }
}

/** Rows [m0,m1) and columns [n0,n1) of C; `mode` as in gemm-modes.ts; K may be 0. `scratch` is 16-byte aligned and private to the thread. */
export function gemm(
  m0: i32, m1: i32, n0: i32, n1: i32, depth: i32,
  a: usize, rsa: i32, csa: i32,
  b: usize, rsb: i32, csb: i32,
  c: usize, ldc: i32, mode: i32, scratch: usize,
): void {
  if (depth == 0 && mode == SET) {
    for (let i = m0; i < m1; i++) memory.fill(c + (<usize>(i * ldc + n0) << 2), 0, <usize>(n1 - n0) << 2);
    return;
  }
  const tile = scratch;
  const packedA = scratch + 128;
  const packedB = packedA + ((MC * KC) << 2);
  for (let jc = n0; jc < n1; jc += NC) {
    const nc = min<i32>(NC, n1 - jc);
    for (let pc = 0; pc < depth; pc += KC) {
      const kc = min<i32>(KC, depth - pc);
      pack(packedB, b + ((<usize>(pc * rsb) + <usize>(jc * csb)) << 2), nc, kc, csb, rsb, 8);
      const blockMode = pc == 0 || mode != SET ? mode : ADD;
      for (let ic = m0; ic < m1; ic += MC) {
        const mc = min<i32>(MC, m1 - ic);
        pack(packedA, a + ((<usize>(ic * rsa) + <usize>(pc * csa)) << 2), mc, kc, rsa, csa, 4);
        block(mc, nc, kc, packedA, packedB, c + (<usize>(ic * ldc + jc) << 2), ldc, blockMode, tile);
      }
    }
  }
}

/** All 4x8 tiles of one packed block of A times one packed panel of B. */
function block(mc: i32, nc: i32, kc: i32, packedA: usize, packedB: usize, c: usize, ldc: i32, mode: i32, tile: usize): void {
  for (let j = 0; j < nc; j += 8) {
    const pb = packedB + (<usize>(j * kc) << 2);
    for (let i = 0; i < mc; i += 4) {
      const pa = packedA + (<usize>(i * kc) << 2);
      const to = c + (<usize>(i * ldc + j) << 2);
      if (i + 4 <= mc && j + 8 <= nc) {
        micro(kc, pa, pb, to, <usize>ldc << 2, mode);
      } else {
        micro(kc, pa, pb, tile, 32, SET);
        copyEdge(min<i32>(4, mc - i), min<i32>(8, nc - j), tile, to, ldc, mode);
      }
    }
  }
}

/** Moves the valid corner of a 4x8 tile to C. */
function copyEdge(rows: i32, columns: i32, tile: usize, c: usize, ldc: i32, mode: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const to = c + (<usize>(i * ldc + j) << 2);
      const value = load<f32>(tile + (<usize>(i * 8 + j) << 2));
      store<f32>(to, mode == SET ? value : mode == ADD ? load<f32>(to) + value : load<f32>(to) - value);
    }
  }
}

// @ts-ignore: decorator
@inline
function madd(acc: v128, x: v128, y: v128): v128 {
  return f32x4.add(acc, f32x4.mul(x, y));
}

// @ts-ignore: decorator
@inline
function put(to: usize, x: v128, mode: i32): void {
  v128.store(to, mode == SET ? x : mode == ADD ? f32x4.add(v128.load(to), x) : f32x4.sub(v128.load(to), x));
}

/** A 4x8 tile from kc packed columns of A (4 values each) and rows of B (8 values each); `stride` of C in bytes. */
function micro(kc: i32, a: usize, b: usize, c: usize, stride: usize, mode: i32): void {
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  for (let k = 0; k < kc; k++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load32_splat(a);
    c00 = madd(c00, x, b0);
    c01 = madd(c01, x, b1);
    x = v128.load32_splat(a, 4);
    c10 = madd(c10, x, b0);
    c11 = madd(c11, x, b1);
    x = v128.load32_splat(a, 8);
    c20 = madd(c20, x, b0);
    c21 = madd(c21, x, b1);
    x = v128.load32_splat(a, 12);
    c30 = madd(c30, x, b0);
    c31 = madd(c31, x, b1);
    a += 16;
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

/**
 * Slivers of `width` (4 or 8) lines: out[(line / width)][k][line % width]. A line is a row of A or a column of B;
 * `stride` steps between lines, `kStride` along k. Missing lines of the last sliver are zero.
 */
function pack(out: usize, from: usize, lines: i32, kc: i32, stride: i32, kStride: i32, width: i32): void {
  for (let at = 0; at < lines; at += width) {
    const line = from + (<usize>(at * stride) << 2);
    for (let half = 0; half < width; half += 4) {
      const present = min<i32>(4, lines - at - half);
      const to = out + (<usize>half << 2);
      const source = line + (<usize>(half * stride) << 2);
      if (present == 4 && kStride == 1) packTransposed(to, source, kc, <usize>stride << 2, <usize>width << 2);
      else if (present == 4 && stride == 1) packStraight(to, source, kc, <usize>kStride << 2, <usize>width << 2);
      else packAny(to, source, present, kc, stride, kStride, width);
    }
    out += <usize>(width * kc) << 2;
  }
}

/** Four lines lie side by side: one vector per k. */
function packStraight(to: usize, from: usize, kc: i32, kStride: usize, step: usize): void {
  for (let k = 0; k < kc; k++) {
    v128.store(to, v128.load(from));
    from += kStride;
    to += step;
  }
}

/** Each of four lines is contiguous along k: 4x4 transposes. */
function packTransposed(to: usize, from: usize, kc: i32, stride: usize, step: usize): void {
  let r0 = from, r1 = from + stride, r2 = r1 + stride, r3 = r2 + stride;
  let k = 0;
  for (; k + 4 <= kc; k += 4) {
    const x0 = v128.load(r0), x1 = v128.load(r1), x2 = v128.load(r2), x3 = v128.load(r3);
    const lo01 = i32x4.shuffle(x0, x1, 0, 4, 1, 5), hi01 = i32x4.shuffle(x0, x1, 2, 6, 3, 7);
    const lo23 = i32x4.shuffle(x2, x3, 0, 4, 1, 5), hi23 = i32x4.shuffle(x2, x3, 2, 6, 3, 7);
    v128.store(to, i64x2.shuffle(lo01, lo23, 0, 2));
    v128.store(to + step, i64x2.shuffle(lo01, lo23, 1, 3));
    v128.store(to + step * 2, i64x2.shuffle(hi01, hi23, 0, 2));
    v128.store(to + step * 3, i64x2.shuffle(hi01, hi23, 1, 3));
    r0 += 16;
    r1 += 16;
    r2 += 16;
    r3 += 16;
    to += step * 4;
  }
  for (; k < kc; k++) {
    store<f32>(to, load<f32>(r0));
    store<f32>(to, load<f32>(r1), 4);
    store<f32>(to, load<f32>(r2), 8);
    store<f32>(to, load<f32>(r3), 12);
    r0 += 4;
    r1 += 4;
    r2 += 4;
    r3 += 4;
    to += step;
  }
}

function packAny(to: usize, from: usize, present: i32, kc: i32, stride: i32, kStride: i32, width: i32): void {
  for (let k = 0; k < kc; k++) {
    for (let i = 0; i < 4; i++) {
      const value = i < present ? load<f32>(from + (<usize>(i * stride + k * kStride) << 2)) : 0;
      store<f32>(to + (<usize>i << 2), value);
    }
    to += <usize>width << 2;
  }
}
