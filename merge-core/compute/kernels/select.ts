// Exact selection by magnitude. The key of an element is its float32 bits without the sign, which order as the magnitudes do;
// all NaNs share one key just above infinity. A histogram of bits 30 to 16 shows where the k-th largest key lies, one of
// single keys in a window which it is.
import { laneSum } from "./dtypes";

const NAN_KEY = 0x7f800001;

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

/**
 * Counts the keys in [low, low + width) each by itself, from the table's word 4 on, and those above the window in word 0.
 * The key `guess` is likely to be very frequent: it is counted by lanes.
 */
export function histogramWindow(table: usize, low: i32, width: i32, guess: i32, a: usize, aStep: usize, n: i32): void {
  const base = i32x4.splat(low);
  const size = i32x4.splat(width);
  const last = i32x4.splat(width - 1);
  const frequent = i32x4.splat(guess - low);
  let above = i32x4.splat(0);
  let often = i32x4.splat(0);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const bin0 = i32x4.sub(keys(v128.load(a)), base);
    const bin1 = i32x4.sub(keys(v128.load(a + aStep)), base);
    above = i32x4.sub(i32x4.sub(above, i32x4.gt_s(bin0, last)), i32x4.gt_s(bin1, last));
    const often0 = i32x4.eq(bin0, frequent);
    const often1 = i32x4.eq(bin1, frequent);
    often = i32x4.sub(i32x4.sub(often, often0), often1);
    const hits0 = v128.andnot(i32x4.lt_u(bin0, size), often0);
    const hits1 = v128.andnot(i32x4.lt_u(bin1, size), often1);
    if (v128.any_true(v128.or(hits0, hits1))) {
      bumpLanes(table, bin0, i32x4.bitmask(hits0));
      bumpLanes(table, bin1, i32x4.bitmask(hits1));
    }
    a += aStep << 1;
  }
  for (; i < n; i += 4) {
    // Elements past the end go below every window.
    const past = i32x4.ge_s(i32x4(0, 1, 2, 3), i32x4.splat(n - i));
    const bin = v128.or(i32x4.sub(keys(v128.load(a)), base), past);
    above = i32x4.sub(above, i32x4.gt_s(bin, last));
    bumpLanes(table, bin, i32x4.bitmask(i32x4.lt_u(bin, size)));
    a += aStep;
  }
  const place = table + 16 + (<usize>(guess - low) << 2);
  if (<u32>(guess - low) < <u32>width) store<u32>(place, load<u32>(place) + laneSum(often));
  store<u32>(table, load<u32>(table) + laneSum(above));
}

@inline
function bumpLanes(table: usize, bins: v128, mask: i32): void {
  if (mask & 1) bump(table, i32x4.extract_lane(bins, 0));
  if (mask & 2) bump(table, i32x4.extract_lane(bins, 1));
  if (mask & 4) bump(table, i32x4.extract_lane(bins, 2));
  if (mask & 8) bump(table, i32x4.extract_lane(bins, 3));
}

@inline
function bump(table: usize, bin: i32): void {
  const at = table + 16 + (<usize>bin << 2);
  store<u32>(at, load<u32>(at) + 1);
}

/** Lanes, as -1, whose key is `key`. */
@inline
export function ties(x: v128, key: i32): v128 {
  return i32x4.eq(keys(x), i32x4.splat(key));
}
