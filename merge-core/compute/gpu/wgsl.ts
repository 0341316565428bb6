// The parts of WGSL that generated programs share: element types to and from float32, the keys of selection, and Philox. Each does
// bit by bit what the kernel of the same name does (kernels/dtypes.ts, select.ts, philox.ts), in integers wherever a graphics driver
// may take liberties with floats.

/** Elements that one invocation computes: enough for whole words of the narrowest type. */
export const LANES = 4;
export const GROUP = 64;
/** Elements of a workgroup. */
export const GROUP_ELEMENTS = LANES * GROUP;

export const LIBRARY = `
const NAN_KEY = 0x7f800001u;
fn isNan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn key(x: f32) -> u32 { return min(bitcast<u32>(x) & 0x7fffffffu, NAN_KEY); }
fn least(a: f32, b: f32) -> f32 {
  if (isNan(a)) { return a; }
  if (isNan(b)) { return b; }
  if (a == b) { return bitcast<f32>(bitcast<u32>(a) | bitcast<u32>(b)); }
  return select(b, a, a < b);
}
fn most(a: f32, b: f32) -> f32 {
  if (isNan(a)) { return a; }
  if (isNan(b)) { return b; }
  if (a == b) { return bitcast<f32>(bitcast<u32>(a) & bitcast<u32>(b)); }
  return select(b, a, a > b);
}
fn byteAt(word: u32, i: u32) -> u32 { return (word >> ((i & 3u) * 8u)) & 0xffu; }
fn halfAt(word: u32, i: u32) -> u32 { return (word >> ((i & 1u) * 16u)) & 0xffffu; }
// Magnitude bits in float32's place times 2^(127 - bias), without letting a driver flush subnormals: those are counted out in units.
fn rebias(magnitude: u32, shift: u32, limit: u32, unit: f32) -> u32 {
  let moved = magnitude << 13u;
  if (moved > limit) { return (moved & 0x007fffffu) | 0x7f800000u; }
  if (moved < 0x00800000u) { return bitcast<u32>(f32(magnitude) * unit); }
  return moved + (shift << 23u);
}
fn fromF16(code: u32) -> f32 {
  return bitcast<f32>(((code & 0x8000u) << 16u) | rebias(code & 0x7fffu, 112u, 0x0f7fffffu, 5.9604644775390625e-8));
}
fn fromE4M3(code: u32) -> f32 {
  let magnitude = code & 0x7fu;
  var bits = (magnitude << 20u) + (120u << 23u);
  if (magnitude == 0x7fu) { bits = 0x7fc00000u; }
  if (magnitude < 8u) { bits = bitcast<u32>(f32(magnitude) * 0.001953125); }
  return bitcast<f32>(((code & 0x80u) << 24u) | bits);
}
fn toBf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select((bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u, 0x7fc0u, isNan(x));
}
fn toF32(x: f32) -> u32 { return select(bitcast<u32>(x), 0x7fc00000u, isNan(x)); }
// The general narrowing, rounded to nearest even: mantissa bits, exponent bias, the code past the last finite one, the code of NaN.
fn encode(x: f32, mantissa: u32, bias: u32, overflow: u32, nan: u32, signShift: u32) -> u32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return nan; }
  let drop = 23u - mantissa;
  var code = 0u;
  if (magnitude >= (128u - bias) << 23u) {
    let rounded = (magnitude + (1u << (drop - 1u)) - 1u + ((magnitude >> drop) & 1u)) >> drop;
    code = min(rounded - ((127u - bias) << mantissa), overflow);
  } else {
    // A subnormal result: the significand with its leading one, shifted to the smallest unit.
    let away = drop + (128u - bias) - (magnitude >> 23u);
    if (away < 32u) {
      let significand = (magnitude & 0x007fffffu) | 0x00800000u;
      let half = (1u << (away - 1u)) - 1u;
      code = (significand + half + ((significand >> away) & 1u)) >> away;
    }
  }
  return code | ((bits >> 31u) << signShift);
}
fn multiplyHigh(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}
fn philox(counter: vec4<u32>, first: vec2<u32>) -> vec4<u32> {
  var x = counter;
  var k = first;
  for (var round = 0; round < 10; round++) {
    x = vec4<u32>(multiplyHigh(0xcd9e8d57u, x.z) ^ x.y ^ k.x, 0xcd9e8d57u * x.z, multiplyHigh(0xd2511f53u, x.x) ^ x.w ^ k.y, 0xd2511f53u * x.x);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return x;
}`;

/** WGSL of element `i` of the input whose words begin at `at`, by the type codes of program.ts; undefined for types that a GPU does not have. */
export const LOADS: readonly (((at: string) => string) | undefined)[] = [
  (at) => `bitcast<f32>(halfAt(src[${at} + (i >> 1u)], i) << 16u)`,
  (at) => `fromF16(halfAt(src[${at} + (i >> 1u)], i))`,
  (at) => `bitcast<f32>(src[${at} + i])`,
  undefined,
  (at) => `fromE4M3(byteAt(src[${at} + (i >> 2u)], i))`,
  (at) => `fromF16(byteAt(src[${at} + (i >> 2u)], i) << 8u)`,
];

export interface Store {
  readonly encode: string;
  /** Bits per code. */
  readonly bits: number;
  /** A code is infinite or NaN if all of these bits are set. */
  readonly special: number;
}

export const STORES: readonly (Store | undefined)[] = [
  { encode: "toBf16(x)", bits: 16, special: 0x7f80 },
  { encode: "encode(x, 10u, 15u, 0x7c00u, 0x7e00u, 15u)", bits: 16, special: 0x7c00 },
  { encode: "toF32(x)", bits: 32, special: 0x7f800000 },
  undefined,
  { encode: "encode(x, 3u, 7u, 0x7fu, 0x7fu, 7u)", bits: 8, special: 0x7f },
  { encode: "encode(x, 2u, 15u, 0x7cu, 0x7fu, 7u)", bits: 8, special: 0x7c },
];
