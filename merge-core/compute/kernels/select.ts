// Exact selection by magnitude. The key of an element is its float32 bits without the sign, which order as the magnitudes do;
// all NaNs share one key just above infinity. Two histogram passes find the k-th largest key: bits 30 to 16, then bits 15 to 0
// of the keys that fall into the bin found first.

const NAN_KEY = 0x7f800001;

/** Bins of the first pass; NaN is in the last. */
const HIGH_BINS = 0x7f81;

@inline
function keys(x: v128): v128 {
  return i32x4.min_s(v128.and(x, i32x4.splat(0x7fffffff)), i32x4.splat(NAN_KEY));
}

@inline
function count1(table: usize, bin: u64): void {
  const at = table + (<usize>bin << 3);
  store<u32>(at, load<u32>(at) + 1);
}

@inline
function count2(table: usize, bin: u64): void {
  const at = table + (<usize>bin << 3);
  store<u32>(at, load<u32>(at, 4) + 1, 4);
}

/**
 * Counts bits 30 to 16. Two counters per bin, side by side and used in turn: runs of equal values, frequent in weights,
 * would otherwise wait for their own stores.
 */
export function histogramHigh(table: usize, a: usize, aStep: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const bins = i32x4.shr_u(keys(v128.load(a)), 16);
    const low = <u64>i64x2.extract_lane(bins, 0);
    const high = <u64>i64x2.extract_lane(bins, 1);
    count1(table, low & 0xffff);
    count2(table, low >> 32);
    count1(table, high & 0xffff);
    count2(table, high >> 32);
    a += aStep;
  }
  for (const step = aStep >> 2; i < n; i++) {
    count1(table, min<u64>(load<u32>(a) & 0x7fffffff, NAN_KEY) >> 16);
    a += step;
  }
}

/** Counts bits 15 to 0 of the keys whose upper bits are `bin`. */
export function histogramLow(table: usize, bin: i32, a: usize, aStep: usize, n: i32): void {
  const wanted = i32x4.splat(bin);
  for (let i = 0; i < n; i += 4) {
    const key = keys(v128.load(a));
    const hits = i32x4.eq(i32x4.shr_u(key, 16), wanted);
    if (v128.any_true(hits)) {
      let mask = i32x4.bitmask(hits);
      if (n - i < 4) mask &= (1 << (n - i)) - 1;
      const low = v128.and(key, i32x4.splat(0xffff));
      if (mask & 1) bump(table, i32x4.extract_lane(low, 0));
      if (mask & 2) bump(table, i32x4.extract_lane(low, 1));
      if (mask & 4) bump(table, i32x4.extract_lane(low, 2));
      if (mask & 8) bump(table, i32x4.extract_lane(low, 3));
    }
    a += aStep;
  }
}

@inline
function bump(table: usize, bin: i32): void {
  const at = table + (<usize>bin << 2);
  store<u32>(at, load<u32>(at) + 1);
}

/** Lanes, as -1, whose key is `key`. */
@inline
export function ties(x: v128, key: i32): v128 {
  return i32x4.eq(keys(x), i32x4.splat(key));
}
