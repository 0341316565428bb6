// Exact selection by magnitude. The key of an element is its float32 bits without the sign, which order as the magnitudes do;
// all NaNs share one key just above infinity. A histogram of bits 30 to 16 shows where the k-th largest key lies, one of
// single keys in a window which it is.
import { laneSum } from "./dtypes";

const MAGNITUDE = 0x7fffffff;
const NAN_KEY = 0x7f800001;

@inline
function keys(x: v128): v128 {
  return i32x4.min_s(v128.and(x, i32x4.splat(MAGNITUDE)), i32x4.splat(NAN_KEY));
}

/** Upper halves of the keys of eight elements. */
@inline
function bins(x: v128, y: v128): v128 {
  const magnitude = i32x4.splat(MAGNITUDE);
  const upper = i16x8.narrow_i32x4_s(i32x4.shr_u(v128.and(x, magnitude), 16), i32x4.shr_u(v128.and(y, magnitude), 16));
  return i16x8.min_s(upper, i16x8.splat(<i16>(NAN_KEY >> 16)));
}

/** Addresses of the counters of four elements: eight bytes a bin from `table` on. */
@inline
function counters(table: v128, x: v128): v128 {
  const bin = v128.and(i32x4.shr_u(x, 13), i32x4.splat(0x3fff8));
  return i32x4.add(table, i32x4.min_s(bin, i32x4.splat((NAN_KEY >> 16) << 3)));
}

/** Two elements. The second uses the other counter of its bin. */
@inline
function countTwo(two: u64): void {
  const first = <usize>two;
  const second = <usize>(two >> 32);
  store<u32>(first, load<u32>(first) + 1);
  store<u32>(second, load<u32>(second, 4) + 1, 4);
}

/**
 * Counts bits 30 to 16. Two counters per bin, side by side and used in turn: runs of equal values, frequent in weights,
 * would otherwise wait for their own stores.
 */
export function histogramHigh(table: usize, a: usize, aStep: usize, n: i32): void {
  const start = i32x4.splat(<i32>table);
  let i = 0;
  if (n >= 4) {
    do {
      const four = counters(start, v128.load(a));
      countTwo(<u64>i64x2.extract_lane(four, 0));
      countTwo(<u64>i64x2.extract_lane(four, 1));
      a += aStep;
      i += 4;
    } while (i + 4 <= n);
  }
  for (let lane = 0; i < n; i++, lane++) {
    const at = table + (<usize>(keyAt(a, aStep, lane) >> 16) << 3);
    store<u32>(at, load<u32>(at) + 1);
  }
}

/**
 * Both at once: a cell per bin, but in place of those of [low, low + width) one for each of its keys, so that cells ascend as the keys do. The bin of a
 * cell's key and how far the key reaches into the window add up to its number. Two counters per cell, as above.
 */
export function histogramBoth(table: usize, low: i32, width: i32, a: usize, aStep: usize, n: i32): void {
  const start = i32x4.splat(<i32>table);
  const from = i32x4.splat(low);
  const most = i32x4.splat(width);
  let i = 0;
  if (n >= 4) {
    do {
      const four = cells(v128.load(a), start, from, most);
      countTwo(<u64>i64x2.extract_lane(four, 0));
      countTwo(<u64>i64x2.extract_lane(four, 1));
      a += aStep;
      i += 4;
    } while (i + 4 <= n);
  }
  for (let lane = 0; i < n; i++, lane++) {
    const at = cellOf(table, low, width, keyAt(a, aStep, lane));
    store<u32>(at, load<u32>(at) + 1);
  }
}

/** Addresses of the cells of four elements. */
@inline
function cells(x: v128, table: v128, low: v128, width: v128): v128 {
  const key = keys(x);
  const place = i32x4.min_s(i32x4.max_s(i32x4.sub(key, low), i32x4.splat(0)), width);
  return i32x4.add(table, i32x4.shl(i32x4.add(i32x4.shr_u(key, 16), place), 3));
}

@inline
function cellOf(table: usize, low: i32, width: i32, key: i32): usize {
  return table + (<usize>((key >> 16) + min(max(key - low, 0), width)) << 3);
}

/** How many elements of that key the table counts. */
export function countInCell(table: usize, low: i32, width: i32, key: i32): u32 {
  const at = cellOf(table, low, width, key);
  return load<u32>(at) + load<u32>(at, 4);
}

/** The key of one of the eight elements from `a` on. */
@inline
function keyAt(a: usize, aStep: usize, lane: i32): u32 {
  return min<u32>(load<u32>(a + <usize>(lane >> 2) * aStep + (<usize>(lane & 3) << 2)) & MAGNITUDE, NAN_KEY);
}

/**
 * Counts the keys in [low, low + width) each by itself, from the table's word 4 on, and those above the window in word 0. Both are multiples of
 * 2^16. The key `guess`, if it lies in the window, is likely to be very frequent: it is counted by lanes.
 */
export function histogramWindow(table: usize, low: i32, width: i32, guess: i32, a: usize, aStep: usize, n: i32): void {
  if (<u32>(guess - low) < <u32>width) countWindow(true, table, low, width, guess, a, aStep, n);
  else countWindow(false, table, low, width, guess, a, aStep, n);
}

@inline
function countWindow(hasGuess: bool, table: usize, low: i32, width: i32, guess: i32, a: usize, aStep: usize, n: i32): void {
  const base = i16x8.splat(<i16>(low >> 16));
  const last = i16x8.splat(<i16>((width >> 16) - 1));
  const below = i16x8.splat(-1);
  const magnitude = i32x4.splat(MAGNITUDE);
  const frequent = i32x4.splat(guess);
  let above = i16x8.splat(0);
  let often = above;
  let rest: u32 = 0;
  let i = 0;
  // With the test at the end, V8 keeps constants out of the loop.
  if (n >= 8) {
    do {
      const x = v128.load(a);
      const y = v128.load(a + aStep);
      const bin = i16x8.sub(bins(x, y), base);
      const over = i16x8.gt_s(bin, last);
      above = i16x8.sub(above, over);
      let hits = v128.andnot(i16x8.gt_s(bin, below), over);
      if (hasGuess) {
        const equal = i16x8.narrow_i32x4_s(i32x4.eq(v128.and(x, magnitude), frequent), i32x4.eq(v128.and(y, magnitude), frequent));
        often = i16x8.sub(often, equal);
        hits = v128.andnot(hits, equal);
      }
      for (let mask = i16x8.bitmask(hits); mask != 0; mask &= mask - 1) bump(table, keyAt(a, aStep, ctz(mask)) - low);
      a += aStep << 1;
      i += 8;
    } while (i + 8 <= n);
  }
  for (let lane = 0; i < n; i++, lane++) {
    const place = <i32>keyAt(a, aStep, lane) - low;
    if (place >= width) rest++;
    else if (place >= 0) bump(table, place);
  }
  if (hasGuess) {
    const place = table + 16 + (<usize>(guess - low) << 2);
    store<u32>(place, load<u32>(place) + laneSum(i32x4.extadd_pairwise_i16x8_s(often)));
  }
  store<u32>(table, load<u32>(table) + rest + laneSum(i32x4.extadd_pairwise_i16x8_s(above)));
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
