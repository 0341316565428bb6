// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), eight counters side by side: two groups
// of four, because one alone would wait for its multiplications.
// Counter words: (block, stream, seed low, seed high); key: 64-bit hash of the tensor's name. Block b yields elements 4b to 4b + 3.

const M0: i32 = <i32>0xd2511f53;
const M1: i32 = <i32>0xcd9e8d57;
const W0: i32 = <i32>0x9e3779b9;
const W1: i32 = <i32>0xbb67ae85;

@inline
function multiplyLow(x: v128, factor: v128): v128 {
  return i64x2.extmul_low_i32x4_u(x, factor);
}

@inline
function multiplyHigh(x: v128, factor: v128): v128 {
  return i64x2.extmul_high_i32x4_u(x, factor);
}

/** High halves of the 64-bit products of unsigned lanes. */
@inline
function high(low2: v128, high2: v128): v128 {
  return v128.shuffle<i32>(low2, high2, 1, 3, 5, 7);
}

@inline
function low(low2: v128, high2: v128): v128 {
  return v128.shuffle<i32>(low2, high2, 0, 2, 4, 6);
}

@inline
function product(x: i32, factor: i32): u64 {
  return <u64><u32>x * <u64><u32>factor;
}

/** Stores four blocks, one after the other, from one vector per word. */
@inline
function storeBlocks(to: usize, x0: v128, x1: v128, x2: v128, x3: v128): void {
  const even01 = v128.shuffle<i32>(x0, x1, 0, 4, 1, 5);
  const odd01 = v128.shuffle<i32>(x0, x1, 2, 6, 3, 7);
  const even23 = v128.shuffle<i32>(x2, x3, 0, 4, 1, 5);
  const odd23 = v128.shuffle<i32>(x2, x3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(even01, even23, 0, 2));
  v128.store(to, v128.shuffle<i64>(even01, even23, 1, 3), 16);
  v128.store(to, v128.shuffle<i64>(odd01, odd23, 0, 2), 32);
  v128.store(to, v128.shuffle<i64>(odd01, odd23, 1, 3), 48);
}

@inline
function isBelow(x: v128, limit: v128): v128 {
  return i32x4.lt_s(i32x4.shr_u(x, 8), limit);
}

/** Of four blocks, one bit for each word: whether its upper 24 bits are below the limit. */
@inline
function bitsBelow(x0: v128, x1: v128, x2: v128, x3: v128, limit: v128): i32 {
  const words01 = i16x8.narrow_i32x4_s(isBelow(x0, limit), isBelow(x1, limit));
  const words23 = i16x8.narrow_i32x4_s(isBelow(x2, limit), isBelow(x3, limit));
  const byWord = i8x16.narrow_i16x8_s(words01, words23);
  return i8x16.bitmask(v128.shuffle<i8>(byWord, byWord, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}

/**
 * Draws for `groups` times eight blocks from `block` on, a multiple of eight; the counter's low word must not overflow. With `asBits` a bit for
 * each of their words, whether its upper 24 bits are below `below`, the first the lowest; else the words.
 */
@inline
function drawGroups(
  to: usize, groups: i32, block: i32, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32, below: i32, asBits: bool,
): void {
  const m0 = i32x4.splat(M0), m1 = i32x4.splat(M1), limit = i32x4.splat(below);
  // Blocks differ in their first word alone: half of the products of the first two rounds are the same for all.
  const first = product(seedLow, M1);
  const second = product(<i32>(first >> 32) ^ stream ^ keyLow, M0);
  const first2 = i32x4.splat(seedHigh ^ keyHigh);
  const second0 = i32x4.splat(<i32>first ^ (keyLow + W0));
  const second2 = i32x4.splat(<i32>(second >> 32) ^ (keyHigh + W1));
  const second3 = i32x4.splat(<i32>second);
  for (let group = 0; group < groups; group++) {
    let x0 = i32x4.add(i32x4.splat(block + 8 * group), i32x4(0, 1, 2, 3));
    let y0 = i32x4.add(i32x4.splat(block + 8 * group), i32x4(4, 5, 6, 7));
    let a = multiplyLow(x0, m0), b = multiplyHigh(x0, m0), e = multiplyLow(y0, m0), f = multiplyHigh(y0, m0);
    let x2 = v128.xor(high(a, b), first2), y2 = v128.xor(high(e, f), first2);
    let x3 = low(a, b), y3 = low(e, f);
    let c = multiplyLow(x2, m1), d = multiplyHigh(x2, m1), g = multiplyLow(y2, m1), h = multiplyHigh(y2, m1);
    x0 = v128.xor(high(c, d), second0);
    y0 = v128.xor(high(g, h), second0);
    x2 = v128.xor(x3, second2);
    y2 = v128.xor(y3, second2);
    let x1 = low(c, d), y1 = low(g, h);
    x3 = y3 = second3;
    let k0 = i32x4.splat(keyLow + 2 * W0);
    let k1 = i32x4.splat(keyHigh + 2 * W1);
    for (let round = 2; round < 10; round++) {
      a = multiplyLow(x0, m0), b = multiplyHigh(x0, m0), c = multiplyLow(x2, m1), d = multiplyHigh(x2, m1);
      e = multiplyLow(y0, m0), f = multiplyHigh(y0, m0), g = multiplyLow(y2, m1), h = multiplyHigh(y2, m1);
      x0 = v128.xor(v128.xor(high(c, d), x1), k0);
      y0 = v128.xor(v128.xor(high(g, h), y1), k0);
      x2 = v128.xor(v128.xor(high(a, b), x3), k1);
      y2 = v128.xor(v128.xor(high(e, f), y3), k1);
      x1 = low(c, d);
      y1 = low(g, h);
      x3 = low(a, b);
      y3 = low(e, f);
      k0 = i32x4.add(k0, i32x4.splat(W0));
      k1 = i32x4.add(k1, i32x4.splat(W1));
    }
    if (asBits) {
      store<i32>(to, bitsBelow(x0, x1, x2, x3, limit) | (bitsBelow(y0, y1, y2, y3, limit) << 16));
      to += 4;
    } else {
      storeBlocks(to, x0, x1, x2, x3);
      storeBlocks(to + 64, y0, y1, y2, y3);
      to += 128;
    }
  }
}

/**
 * Draws for elements `start` on, a multiple of 32, and as many as `n` rounded up to a multiple of 32. The low counter word is the block of
 * four elements; what overflows it joins the stream's word.
 */
@inline
function draw(to: usize, n: i32, start: f64, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32, below: i32, asBits: bool): void {
  let group = <u64>start >> 5;
  for (let left = (n + 31) >> 5; left > 0; ) {
    const block = <u32>(group << 3);
    const some = min<i32>(left, <i32>((u32.MAX_VALUE - block) / 8 + 1));
    drawGroups(to, some, block, stream + <i32>(group >> 29), seedLow, seedHigh, keyLow, keyHigh, below, asBits);
    to += <usize>some << (asBits ? 2 : 7);
    group += some;
    left -= some;
  }
}

/** Random words, one for each element. */
export function drawWords(to: usize, n: i32, start: f64, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32): void {
  draw(to, n, start, stream, seedLow, seedHigh, keyLow, keyHigh, 0, false);
}

/** One bit for each element, the first the lowest: 1 where a uniform number of 24 bits in [0, 1) is below `below` 2^-24. */
export function drawBits(bits: usize, n: i32, start: f64, below: i32, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32): void {
  draw(bits, n, start, stream, seedLow, seedHigh, keyLow, keyHigh, below, true);
}

/** 1 where a uniform number of 24 bits in [0, 1) is below `keep`, else 0. `to` has room for a multiple of 32 elements. */
export function bernoulli(to: usize, keep: usize, step: usize, n: i32, start: f64, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32): void {
  drawWords(to, n, start, stream, seedLow, seedHigh, keyLow, keyHigh);
  const one = f32x4.splat(1);
  const unit = f32x4.splat(reinterpret<f32>(0x33800000));
  for (const end = to + (<usize>n << 2); to < end; to += 16) {
    const uniform = f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(v128.load(to), 8)), unit);
    v128.store(to, v128.and(f32x4.lt(uniform, v128.load(keep)), one));
    keep += step;
  }
}
