// Element types to and from float32, four lanes at a time. Narrowing rounds once, to nearest even. A NaN is written as the
// format's positive quiet NaN, because the sign and payload of a computed NaN differ between processors.

export const BF16 = 0;
export const F16 = 1;
export const F32 = 2;
export const F64 = 3;
export const F8_E4M3 = 4;
export const F8_E5M2 = 5;

/** Bytes per element as a power of two. */
@inline
export function shiftOf(dtype: i32): usize {
  return dtype <= F16 ? 1 : dtype == F32 ? 2 : dtype == F64 ? 3 : 0;
}

/** Bits of an IEEE-like magnitude, moved to float32's place, times 2^(127 - bias): exact, subnormals included. */
@inline
function rebias(magnitude: v128, limit: i32, scale: f32): v128 {
  const special = i32x4.gt_s(magnitude, i32x4.splat(limit));
  return v128.or(f32x4.mul(magnitude, f32x4.splat(scale)), v128.and(special, i32x4.splat(0x7f800000)));
}

/** Four IEEE half codes in 32-bit lanes. Multiplying leaves infinity and NaN at exponent 16, hence the `or` above. */
@inline
export function halfToFloat(codes: v128): v128 {
  const magnitude = i32x4.shl(v128.and(codes, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(codes, i32x4.splat(0x8000)), 16);
  return v128.or(sign, rebias(magnitude, 0x0f7fffff, reinterpret<f32>(0x77800000)));
}

/** Four bytes in 32-bit lanes. */
@inline
function loadBytes(from: usize): v128 {
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(from)));
}

@inline
function e4m3ToFloat(codes: v128): v128 {
  const magnitude = i32x4.shl(v128.and(codes, i32x4.splat(0x7f)), 20);
  const sign = i32x4.shl(v128.and(codes, i32x4.splat(0x80)), 24);
  // 0x7f is the only NaN, and there is no infinity.
  return v128.or(sign, rebias(magnitude, 0x07efffff, reinterpret<f32>(0x7b800000)));
}

/** Elements i to i + 3 as float32. */
@inline
export function load4(dtype: i32, from: usize): v128 {
  if (dtype == BF16) return i32x4.shl(v128.load16x4_u(from), 16);
  if (dtype == F16) return halfToFloat(v128.load16x4_u(from));
  if (dtype == F32) return v128.load(from);
  if (dtype == F64) {
    const low = f32x4.demote_f64x2_zero(v128.load(from));
    return v128.shuffle<i64>(low, f32x4.demote_f64x2_zero(v128.load(from, 16)), 0, 2);
  }
  if (dtype == F8_E4M3) return e4m3ToFloat(loadBytes(from));
  return halfToFloat(i32x4.shl(loadBytes(from), 8));
}

/** The general narrowing: `mantissa` bits, exponent `bias`, `overflow` the code past the last finite one. */
@inline
function encode(x: v128, mantissa: i32, bias: i32, overflow: i32, nan: i32, signBit: i32): v128 {
  const magnitude = v128.and(x, i32x4.splat(0x7fffffff));
  const drop = 23 - mantissa;
  const odd = v128.and(i32x4.shr_u(magnitude, drop), i32x4.splat(1));
  const rounded = i32x4.add(i32x4.add(magnitude, i32x4.splat((1 << (drop - 1)) - 1)), odd);
  const normal = i32x4.min_s(i32x4.sub(i32x4.shr_u(rounded, drop), i32x4.splat((127 - bias) << mantissa)), i32x4.splat(overflow));
  // Adding a power of two whose last place is the smallest subnormal lets the adder do the rounding.
  const magic = i32x4.splat((127 + 24 - bias - mantissa) << 23);
  const tiny = i32x4.sub(f32x4.add(magnitude, magic), magic);
  const code = v128.bitselect(tiny, normal, i32x4.lt_s(magnitude, i32x4.splat((128 - bias) << 23)));
  const sign = v128.and(i32x4.shr_u(x, signBit == 0x80 ? 24 : 16), i32x4.splat(signBit));
  return v128.bitselect(i32x4.splat(nan), v128.or(code, sign), f32x4.ne(x, x));
}

@inline
function encodeBf16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), 16);
  return v128.bitselect(i32x4.splat(0x7fc0), rounded, f32x4.ne(x, x));
}

/** Codes in 32-bit lanes; F32 gives the value itself. Not for F64. */
@inline
export function encode4(dtype: i32, x: v128): v128 {
  if (dtype == BF16) return encodeBf16(x);
  if (dtype == F16) return encode(x, 10, 15, 0x7c00, 0x7e00, 0x8000);
  if (dtype == F8_E4M3) return encode(x, 3, 7, 0x7f, 0x7f, 0x80);
  if (dtype == F8_E5M2) return encode(x, 2, 15, 0x7c, 0x7f, 0x80);
  return v128.bitselect(i32x4.splat(0x7fc00000), x, f32x4.ne(x, x));
}

/** Which of four codes stand for infinity or NaN. */
@inline
function nonFinite4(dtype: i32, codes: v128): v128 {
  const mask = dtype == BF16 ? 0x7f80 : dtype == F16 ? 0x7c00 : dtype == F8_E4M3 ? 0x7f : dtype == F8_E5M2 ? 0x7c : 0x7f800000;
  return i32x4.eq(v128.and(codes, i32x4.splat(mask)), i32x4.splat(mask));
}

/** Writes four codes. */
@inline
function storeCodes(dtype: i32, to: usize, codes: v128): void {
  if (dtype <= F16) v128.store64_lane(to, i16x8.narrow_i32x4_u(codes, codes), 0);
  else if (dtype == F8_E4M3 || dtype == F8_E5M2) {
    const words = i16x8.narrow_i32x4_u(codes, codes);
    v128.store32_lane(to, i8x16.narrow_i16x8_u(words, words), 0);
  } else if (dtype == F64) {
    v128.store(to, f64x2.promote_low_f32x4(codes));
    v128.store(to, f64x2.promote_low_f32x4(v128.shuffle<i64>(codes, codes, 1, 1)), 16);
  } else v128.store(to, codes);
}

@inline
function widenLoop(dtype: i32, from: usize, to: usize, n: i32): void {
  const end = to + (<usize>n << 2);
  const step = <usize>4 << shiftOf(dtype);
  while (to < end) {
    v128.store(to, load4(dtype, from));
    to += 16;
    from += step;
  }
}

/** bf16 is the common case: one load serves eight elements. */
function widenBf16(from: usize, to: usize, n: i32): void {
  const zero = i16x8.splat(0);
  const end = to + (<usize>n << 2);
  while (to < end) {
    const codes = v128.load(from);
    v128.store(to, v128.shuffle<i16>(zero, codes, 0, 8, 1, 9, 2, 10, 3, 11));
    v128.store(to, v128.shuffle<i16>(zero, codes, 4, 12, 5, 13, 6, 14, 7, 15), 16);
    to += 32;
    from += 16;
  }
}

/** `n` elements to float32. Reads and writes up to the next multiple of eight elements. */
export function widen(dtype: i32, from: usize, to: usize, n: i32): void {
  switch (dtype) {
    case BF16: widenBf16(from, to, n); break;
    case F16: widenLoop(F16, from, to, n); break;
    case F32: widenLoop(F32, from, to, n); break;
    case F64: widenLoop(F64, from, to, n); break;
    case F8_E4M3: widenLoop(F8_E4M3, from, to, n); break;
    default: widenLoop(F8_E5M2, from, to, n);
  }
}

@inline
function narrowLoop(dtype: i32, from: usize, step: usize, to: usize, n: i32): i32 {
  let bad = i32x4.splat(0);
  for (let i = 0; i < n; i += 4) {
    const codes = encode4(dtype, v128.load(from));
    const lanes = i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(n - i));
    bad = i32x4.sub(bad, v128.and(nonFinite4(dtype, codes), lanes));
    storeCodes(dtype, to, codes);
    from += step;
    to += <usize>4 << shiftOf(dtype);
  }
  return laneSum(bad);
}

@inline
export function laneSum(x: v128): i32 {
  return i32x4.extract_lane(x, 0) + i32x4.extract_lane(x, 1) + i32x4.extract_lane(x, 2) + i32x4.extract_lane(x, 3);
}

/**
 * `n` float32 to `dtype`, rounded; the source advances by `step` bytes per four elements (0 repeats them). Writes up to the next
 * multiple of four elements. Returns how many of the `n` came out as infinity or NaN.
 */
export function narrow(dtype: i32, from: usize, step: usize, to: usize, n: i32): i32 {
  switch (dtype) {
    case BF16: return narrowLoop(BF16, from, step, to, n);
    case F16: return narrowLoop(F16, from, step, to, n);
    case F32: return narrowLoop(F32, from, step, to, n);
    case F64: return narrowLoop(F64, from, step, to, n);
    case F8_E4M3: return narrowLoop(F8_E4M3, from, step, to, n);
    default: return narrowLoop(F8_E5M2, from, step, to, n);
  }
}
