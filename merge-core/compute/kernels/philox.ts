// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), four counters side by side.
// Counter words: (block, stream, seed low, seed high); key: 64-bit hash of the tensor's name. Block b yields elements 4b to 4b + 3.

const M0: i32 = <i32>0xd2511f53;
const M1: i32 = <i32>0xcd9e8d57;
const W0: i32 = <i32>0x9e3779b9;
const W1: i32 = <i32>0xbb67ae85;

/** High halves of the 64-bit products of unsigned lanes. */
@inline
function high(low2: v128, high2: v128): v128 {
  return v128.shuffle<i32>(low2, high2, 1, 3, 5, 7);
}

@inline
function low(low2: v128, high2: v128): v128 {
  return v128.shuffle<i32>(low2, high2, 0, 2, 4, 6);
}

/**
 * Random words of four blocks: words 4b to 4b + 3 of block b are at `to` + 16b. `block` is the low counter word of the first
 * block and must be a multiple of four (no carry inside a group).
 */
export function philox4(to: usize, block: i32, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32): void {
  let x0 = i32x4.add(i32x4.splat(block), i32x4(0, 1, 2, 3));
  let x1 = i32x4.splat(stream);
  let x2 = i32x4.splat(seedLow);
  let x3 = i32x4.splat(seedHigh);
  for (let round = 0; round < 10; round++) {
    const a = i64x2.extmul_low_i32x4_u(x0, i32x4.splat(M0));
    const b = i64x2.extmul_high_i32x4_u(x0, i32x4.splat(M0));
    const c = i64x2.extmul_low_i32x4_u(x2, i32x4.splat(M1));
    const d = i64x2.extmul_high_i32x4_u(x2, i32x4.splat(M1));
    x0 = v128.xor(v128.xor(high(c, d), x1), i32x4.splat(keyLow));
    x2 = v128.xor(v128.xor(high(a, b), x3), i32x4.splat(keyHigh));
    x1 = low(c, d);
    x3 = low(a, b);
    keyLow += W0;
    keyHigh += W1;
  }
  // Transpose: from one vector per word to one per block.
  const even01 = v128.shuffle<i32>(x0, x1, 0, 4, 1, 5);
  const odd01 = v128.shuffle<i32>(x0, x1, 2, 6, 3, 7);
  const even23 = v128.shuffle<i32>(x2, x3, 0, 4, 1, 5);
  const odd23 = v128.shuffle<i32>(x2, x3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(even01, even23, 0, 2));
  v128.store(to, v128.shuffle<i64>(even01, even23, 1, 3), 16);
  v128.store(to, v128.shuffle<i64>(odd01, odd23, 0, 2), 32);
  v128.store(to, v128.shuffle<i64>(odd01, odd23, 1, 3), 48);
}

/** 1 where a uniform number of 24 bits in [0, 1) is below `keep`, else 0. `to` has room for a multiple of 16 elements. */
export function bernoulli(to: usize, keep: usize, step: usize, n: i32, block: i32, stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32): void {
  const end = to + (<usize>n << 2);
  const one = f32x4.splat(1);
  const unit = f32x4.splat(reinterpret<f32>(0x33800000));
  while (to < end) {
    philox4(to, block, stream, seedLow, seedHigh, keyLow, keyHigh);
    for (let i = 0; i < 4; i++) {
      const uniform = f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(v128.load(to), 8)), unit);
      v128.store(to, v128.and(f32x4.lt(uniform, v128.load(keep)), one));
      to += 16;
      keep += step;
    }
    block += 4;
  }
}
