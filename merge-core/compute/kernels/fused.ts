// Linear combinations of raw inputs straight to the output type, the whole of the commonest merges:
// sum of w_t * x_t, or base + s * (sum of w_t * (x_t - base)) / d. The order of operations and roundings is that of the formula
// written out step by step, so the bits are the same; only the trips through memory are saved.
import { BF16, F16, F32, load4, narrow, shiftOf } from "./dtypes";

/**
 * A term is 32 bytes: input slot, the input's address in this chunk, two unused words, the weight in four lanes.
 * After the last one 64 bytes are free for the sums of a group when one of them needs the careful way out.
 */
const TERM: usize = 32;
const GROUP = 16;

@inline
function term(dtype: i32, from: usize, at: usize, base: v128, hasBase: bool, weight: v128): v128 {
  const x = load4(dtype, from + (at << shiftOf(dtype)));
  return f32x4.mul(weight, hasBase ? f32x4.sub(x, base) : x);
}

@inline
function finish(sum: v128, base: v128, hasBase: bool, hasScale: bool, scale: v128, divisor: v128): v128 {
  const scaled = hasScale ? f32x4.mul(scale, f32x4.div(sum, divisor)) : sum;
  return hasBase ? f32x4.add(base, scaled) : scaled;
}

@inline
function magnitude(x: v128): v128 {
  return v128.and(x, i32x4.splat(0x7fffffff));
}

/** Values that are not finite, or round to infinity in bf16; rare, so whole groups are tested at once. */
@inline
function anyLarge(a: v128, b: v128, c: v128, d: v128): bool {
  const most = i32x4.max_s(i32x4.max_s(magnitude(a), magnitude(b)), i32x4.max_s(magnitude(c), magnitude(d)));
  return v128.any_true(i32x4.gt_s(most, i32x4.splat(0x7f7f7fff)));
}

@inline
function roundBf16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  return i32x4.shr_u(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), 16);
}

@inline
function storeGroup(dtype: i32, to: usize, a: v128, b: v128, c: v128, d: v128): void {
  if (dtype == BF16) {
    v128.store(to, i16x8.narrow_i32x4_u(roundBf16(a), roundBf16(b)));
    v128.store(to, i16x8.narrow_i32x4_u(roundBf16(c), roundBf16(d)), 16);
  } else {
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to, c, 32);
    v128.store(to, d, 48);
  }
}

@inline
function combine(inType: i32, outType: i32, hasBase: bool, terms: usize, count: i32, base: usize, hasScale: bool, scale: v128, divisor: v128, to: usize, n: i32): i32 {
  let bad = 0;
  const last = terms + <usize>count * TERM;
  for (let i = 0; i < n; i += GROUP) {
    const at = <usize>i;
    let b0 = f32x4.splat(0), b1 = b0, b2 = b0, b3 = b0;
    if (hasBase) {
      b0 = load4(inType, base + (at << shiftOf(inType)));
      b1 = load4(inType, base + ((at + 4) << shiftOf(inType)));
      b2 = load4(inType, base + ((at + 8) << shiftOf(inType)));
      b3 = load4(inType, base + ((at + 12) << shiftOf(inType)));
    }
    let from = load<usize>(terms, 4);
    let w = v128.load(terms, 16);
    let s0 = term(inType, from, at, b0, hasBase, w);
    let s1 = term(inType, from, at + 4, b1, hasBase, w);
    let s2 = term(inType, from, at + 8, b2, hasBase, w);
    let s3 = term(inType, from, at + 12, b3, hasBase, w);
    for (let t = terms + TERM; t < last; t += TERM) {
      from = load<usize>(t, 4);
      w = v128.load(t, 16);
      s0 = f32x4.add(s0, term(inType, from, at, b0, hasBase, w));
      s1 = f32x4.add(s1, term(inType, from, at + 4, b1, hasBase, w));
      s2 = f32x4.add(s2, term(inType, from, at + 8, b2, hasBase, w));
      s3 = f32x4.add(s3, term(inType, from, at + 12, b3, hasBase, w));
    }
    s0 = finish(s0, b0, hasBase, hasScale, scale, divisor);
    s1 = finish(s1, b1, hasBase, hasScale, scale, divisor);
    s2 = finish(s2, b2, hasBase, hasScale, scale, divisor);
    s3 = finish(s3, b3, hasBase, hasScale, scale, divisor);
    const out = to + (at << shiftOf(outType));
    if (outType == F16 || n - i < GROUP || anyLarge(s0, s1, s2, s3)) {
      v128.store(last, s0);
      v128.store(last, s1, 16);
      v128.store(last, s2, 32);
      v128.store(last, s3, 48);
      bad += narrow(outType, last, 16, out, min(n - i, GROUP));
    } else storeGroup(outType, out, s0, s1, s2, s3);
  }
  return bad;
}

@inline
function chooseOutput(inType: i32, outType: i32, hasBase: bool, terms: usize, count: i32, base: usize, hasScale: bool, scale: v128, divisor: v128, to: usize, n: i32): i32 {
  if (outType == BF16) return combine(inType, BF16, hasBase, terms, count, base, hasScale, scale, divisor, to, n);
  if (outType == F16) return combine(inType, F16, hasBase, terms, count, base, hasScale, scale, divisor, to, n);
  return combine(inType, F32, hasBase, terms, count, base, hasScale, scale, divisor, to, n);
}

function plain(inType: i32, outType: i32, terms: usize, count: i32, hasScale: bool, scale: v128, divisor: v128, to: usize, n: i32): i32 {
  if (inType == BF16) return chooseOutput(BF16, outType, false, terms, count, 0, hasScale, scale, divisor, to, n);
  if (inType == F16) return chooseOutput(F16, outType, false, terms, count, 0, hasScale, scale, divisor, to, n);
  return chooseOutput(F32, outType, false, terms, count, 0, hasScale, scale, divisor, to, n);
}

function fromBase(inType: i32, outType: i32, terms: usize, count: i32, base: usize, hasScale: bool, scale: v128, divisor: v128, to: usize, n: i32): i32 {
  if (inType == BF16) return chooseOutput(BF16, outType, true, terms, count, base, hasScale, scale, divisor, to, n);
  if (inType == F16) return chooseOutput(F16, outType, true, terms, count, base, hasScale, scale, divisor, to, n);
  return chooseOutput(F32, outType, true, terms, count, base, hasScale, scale, divisor, to, n);
}

/**
 * One chunk. `inputs` is the table of input addresses for this tile, `first` the chunk's first element in it. `baseSlot` is -1
 * for a plain sum; `scale` is an address of four lanes of
 * a factor and four of a divisor for the sum of terms, or 0. All inputs have one type of BF16, F16, F32; so has the output.
 * Returns how many outputs are infinite or NaN.
 */
export function fusedLinear(inType: i32, outType: i32, terms: usize, count: i32, baseSlot: i32, scale: usize, inputs: usize, to: usize, first: usize, n: i32): i32 {
  const skip = first << shiftOf(inType);
  for (let t = 0; t < count; t++) {
    const at = terms + <usize>t * TERM;
    store<usize>(at, load<usize>(inputs + (<usize>load<i32>(at) << 2)) + skip, 4);
  }
  const out = to + (first << shiftOf(outType));
  const factor = scale ? v128.load(scale) : f32x4.splat(1);
  const divisor = scale ? v128.load(scale, 16) : factor;
  if (baseSlot < 0) return plain(inType, outType, terms, count, scale != 0, factor, divisor, out, n);
  return fromBase(inType, outType, terms, count, load<usize>(inputs + (<usize>baseSlot << 2)) + skip, scale != 0, factor, divisor, out, n);
}
