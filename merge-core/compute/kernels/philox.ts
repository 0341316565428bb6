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

/**
 * Random words of eight blocks: words 4b to 4b + 3 of block b are at `to` + 16b. `block` is the low counter word of the first
 * block and must be a multiple of eight (no carry inside a group).
 */
export function philox8(to: usize, block: i32, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32): void {
  let x0 = i32x4.add(i32x4.splat(block), i32x4(0, 1, 2, 3));
  let y0 = i32x4.add(i32x4.splat(block), i32x4(4, 5, 6, 7));
  let x1 = i32x4.splat(stream), y1 = x1;
  let x2 = i32x4.splat(seedLow), y2 = x2;
  let x3 = i32x4.splat(seedHigh), y3 = x3;
  let k0 = i32x4.splat(keyLow);
  let k1 = i32x4.splat(keyHigh);
  const m0 = i32x4.splat(M0);
  const m1 = i32x4.splat(M1);
  for (let round = 0; round < 10; round++) {
    const a = multiplyLow(x0, m0), b = multiplyHigh(x0, m0), c = multiplyLow(x2, m1), d = multiplyHigh(x2, m1);
    const e = multiplyLow(y0, m0), f = multiplyHigh(y0, m0), g = multiplyLow(y2, m1), h = multiplyHigh(y2, m1);
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
  storeBlocks(to, x0, x1, x2, x3);
  storeBlocks(to + 64, y0, y1, y2, y3);
}

/** 1 where a uniform number of 24 bits in [0, 1) is below `keep`, else 0. `to` has room for a multiple of 32 elements. */
export function bernoulli(to: usize, keep: usize, step: usize, n: i32, block: i32, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32): void {
  const end = to + (<usize>n << 2);
  const one = f32x4.splat(1);
  const unit = f32x4.splat(reinterpret<f32>(0x33800000));
  while (to < end) {
    philox8(to, block, stream, seedLow, seedHigh, keyLow, keyHigh);
    for (let i = 0; i < 8; i++) {
      const uniform = f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(v128.load(to), 8)), unit);
      v128.store(to, v128.and(f32x4.lt(uniform, v128.load(keep)), one));
      to += 16;
      keep += step;
    }
    block += 8;
  }
}
