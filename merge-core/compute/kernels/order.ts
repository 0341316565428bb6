// What depends on the order of magnitudes within a block or a row. Keys are those of kernels/select.ts.

const NAN_KEY = 0x7f800001;
const TAKEN: i32 = i32.MIN_VALUE;
const DIGIT_BITS = 11;
const DIGITS = 1 << DIGIT_BITS;

/** Bytes of scratch for blocks of `block`. */
export function turnsScratchBytes(block: i32): i32 {
  return ((block + 7) & ~3) * 8;
}

/**
 * Turns as compute/expr.ts defines them, for the elements [from, to) of `count` vectors whose addresses are in the table; `from` begins a
 * block, only the last may be short. Each vector is replaced by its mask.
 */
export function takeTurns(vectors: usize, count: i32, from: i32, to: i32, block: i32, keep: i32, scratch: usize): void {
  const keys = scratch;
  const taken = scratch + (<usize>((block + 7) & ~3) << 2);
  let guess: i32 = 0;
  for (let start = from; start < to; start += block) {
    const n = min<i32>(block, to - start);
    const share = <i32>((<i64>keep * <i64>n + <i64>block - 1) / <i64>block);
    memory.fill(taken, 0, <usize>(n + 4) << 2);
    for (let v = 0; v < count; v++) {
      const values = <usize>load<u32>(vectors + (<usize>v << 2)) + (<usize>start << 2);
      const most = makeKeys(values, taken, keys, n);
      // Each turn takes of what is left until nothing is.
      guess = takeLargest(keys, taken, values, n, share, max<i32>(0, n - v * share), most, guess);
    }
  }
}

/**
 * Keys whose order as signed numbers is: those that nobody took, by magnitude, before all others. What pads the last four is the least.
 * Returns the largest.
 */
function makeKeys(values: usize, taken: usize, keys: usize, n: i32): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const nan = i32x4.splat(NAN_KEY);
  let most = i32x4.splat(TAKEN);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize>i << 2;
    const key = v128.or(i32x4.min_s(v128.and(v128.load(values + at), magnitude), nan), v128.load(taken + at));
    most = i32x4.max_s(most, key);
    v128.store(keys + at, key);
  }
  let last = max<i32>(
    max<i32>(i32x4.extract_lane(most, 0), i32x4.extract_lane(most, 1)),
    max<i32>(i32x4.extract_lane(most, 2), i32x4.extract_lane(most, 3)),
  );
  for (const end = (n + 3) & ~3; i < end; i++) {
    const at = <usize>i << 2;
    const key = i < n ? min<i32>(load<i32>(values + at) & 0x7fffffff, NAN_KEY) | load<i32>(taken + at) : TAKEN;
    last = max<i32>(last, key);
    store<i32>(keys + at, key);
  }
  return last;
}

/** Of the keys that reach the limit and of those that do not: the least of the former, the largest of the latter. */
let leastAbove: i32 = 0;
let largestBelow: i32 = 0;

/** How many of `n` keys, a multiple of four, are above `limit`. */
function countAbove(keys: usize, n: i32, limit: i32): i32 {
  const bound = i32x4.splat(limit);
  let sum0 = i32x4.splat(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  const end = keys + (<usize>n << 2);
  for (; keys + 64 <= end; keys += 64) {
    sum0 = i32x4.sub(sum0, i32x4.gt_s(v128.load(keys), bound));
    sum1 = i32x4.sub(sum1, i32x4.gt_s(v128.load(keys, 16), bound));
    sum2 = i32x4.sub(sum2, i32x4.gt_s(v128.load(keys, 32), bound));
    sum3 = i32x4.sub(sum3, i32x4.gt_s(v128.load(keys, 48), bound));
  }
  for (; keys < end; keys += 16) sum0 = i32x4.sub(sum0, i32x4.gt_s(v128.load(keys), bound));
  sum0 = i32x4.add(i32x4.add(sum0, sum1), i32x4.add(sum2, sum3));
  return i32x4.extract_lane(sum0, 0) + i32x4.extract_lane(sum0, 1) + i32x4.extract_lane(sum0, 2) + i32x4.extract_lane(sum0, 3);
}

/** The same for those that reach `limit`, and what lies next to it. */
function countFrom(keys: usize, n: i32, limit: i32): i32 {
  const bound = i32x4.splat(limit);
  const lowest = i32x4.splat(i32.MIN_VALUE);
  const highest = i32x4.splat(i32.MAX_VALUE);
  let sum = i32x4.splat(0);
  let above = highest;
  let below = lowest;
  for (const end = keys + (<usize>n << 2); keys < end; keys += 16) {
    const key = v128.load(keys);
    const reaches = i32x4.ge_s(key, bound);
    sum = i32x4.sub(sum, reaches);
    above = i32x4.min_s(above, v128.bitselect(key, highest, reaches));
    below = i32x4.max_s(below, v128.bitselect(lowest, key, reaches));
  }
  leastAbove = min<i32>(
    min<i32>(i32x4.extract_lane(above, 0), i32x4.extract_lane(above, 1)),
    min<i32>(i32x4.extract_lane(above, 2), i32x4.extract_lane(above, 3)),
  );
  largestBelow = max<i32>(
    max<i32>(i32x4.extract_lane(below, 0), i32x4.extract_lane(below, 1)),
    max<i32>(i32x4.extract_lane(below, 2), i32x4.extract_lane(below, 3)),
  );
  return i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3);
}

/** A key between those of x and y where the share is likely to be: magnitudes are spread rather evenly between near ones. */
function between(low: i32, high: i32, reachedLow: i32, reachedHigh: i32, share: i32): i32 {
  const x = reinterpret<f32>(low);
  const y = reinterpret<f32>(high);
  const part = (<f32>(reachedLow - share) + 0.5) / <f32>(reachedLow - reachedHigh);
  return reinterpret<i32>(x + (y - x) * part);
}

/** Takes what is above `limit`, and of what equals it the first `ties`. */
function mark(keys: usize, taken: usize, mask: usize, n: i32, limit: i32, ties: i32): void {
  const bound = i32x4.splat(limit);
  const one = f32x4.splat(1);
  const flag = i32x4.splat(TAKEN);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize>i << 2;
    const key = v128.load(keys + at);
    let takes = i32x4.gt_s(key, bound);
    const equal = i32x4.bitmask(i32x4.eq(key, bound));
    if (equal != 0 && ties > 0) {
      const count = popcnt<i32>(equal);
      if (count <= ties) {
        takes = i32x4.ge_s(key, bound);
        ties -= count;
      } else {
        for (let lane = 0; lane < 4; lane++) markOne(keys, taken, mask, i + lane, limit, (equal >> lane) & 1 && ties-- > 0);
        ties = 0;
        continue;
      }
    }
    v128.store(mask + at, v128.and(takes, one));
    v128.store(taken + at, v128.or(v128.load(taken + at), v128.and(takes, flag)));
  }
  for (; i < n; i++) markOne(keys, taken, mask, i, limit, load<i32>(keys + (<usize>i << 2)) == limit && ties-- > 0);
}

function markOne(keys: usize, taken: usize, mask: usize, i: i32, limit: i32, tie: bool): void {
  const at = <usize>i << 2;
  const takes = tie || load<i32>(keys + at) > limit;
  store<f32>(mask + at, takes ? 1 : 0);
  if (takes) store<i32>(taken + at, TAKEN);
}

/**
 * Writes 1 for the `share` largest keys, of equal ones the first, and 0 for the others; notes what is taken. `left` keys are not taken,
 * `most` is the largest. Returns the limit, near which the next is likely to be.
 */
function takeLargest(keys: usize, taken: usize, mask: usize, n: i32, share: i32, left: i32, most: i32, guess: i32): i32 {
  if (share <= 0) {
    memory.fill(mask, 0, <usize>n << 2);
    return guess;
  }
  const padded = (n + 3) & ~3;
  // At least `share` keys reach `low`, fewer reach `high`; once exactly so many do, what lies between no longer matters.
  let low = share <= left ? 0 : TAKEN;
  let reachedLow = share <= left ? left : padded;
  let high = share <= left ? most : 0;
  let reachedHigh = share <= left ? 0 : left;
  // Above the largest there is nothing. NaN has the largest key of all, so this never overflows.
  if (share <= left) high++;
  let exact = reachedLow == share && low == 0;
  for (let step = 0; !exact && <i64>high - <i64>low > 1; step++) {
    let middle = <i32>((<i64>low + <i64>high) >> 1);
    if (step == 0) middle = guess;
    else if (low >= 0 && high < 0x7f800000 && step % 4 != 0) middle = between(low, high, reachedLow, reachedHigh, share);
    middle = max<i32>(low + 1, min<i32>(high - 1, middle));
    // After a few tries borders move on to keys that there are: equal ones, frequent in differences of bfloat16 numbers, would take many more.
    const exactly = step >= 3;
    const reached = exactly ? countFrom(keys, padded, middle) : countAbove(keys, padded, middle - 1);
    if (reached >= share) {
      low = exactly ? leastAbove : middle;
      reachedLow = reached;
    } else {
      high = exactly ? largestBelow + 1 : middle;
      reachedHigh = reached;
    }
    exact = reached == share;
  }
  mark(keys, taken, mask, n, low, exact ? n : share - reachedHigh);
  return max<i32>(0, low);
}

/** Bytes of scratch for rows of `columns`. */
export function rowRanksScratchBytes(columns: i32): i32 {
  return columns * 16 + 3 * DIGITS * 4;
}

/**
 * Replaces the rows [from, to) of `values` by the place of each magnitude in its row, from 0 to 1; ties in index order; 0.5 in rows of one. A
 * stable radix sort of three digits that carries keys and places along: a row stays in the cache, and no comparison is made.
 */
export function rowRanks(values: usize, columns: i32, from: i32, to: i32, scratch: usize): void {
  const places = scratch;
  const low = scratch + ((3 * DIGITS) << 2);
  const middle = low + (<usize>columns << 3);
  const last = <f64>(columns - 1);
  for (let r = from; r < to; r++) {
    const row = values + (<usize>r * <usize>columns << 2);
    if (columns == 1) {
      store<f32>(row, 0.5);
      continue;
    }
    countDigits(row, columns, places);
    for (let i = 0; i < columns; i++) {
      const k = key(row, i);
      const at = low + (<usize>next(places, k & (DIGITS - 1)) << 3);
      store<u32>(at, k);
      store<u32>(at, i, 4);
    }
    for (let i = 0; i < columns; i++) {
      const k = load<u32>(low + (<usize>i << 3));
      const at = middle + (<usize>next(places, DIGITS + ((k >> DIGIT_BITS) & (DIGITS - 1))) << 3);
      store<u64>(at, load<u64>(low + (<usize>i << 3)));
    }
    for (let i = 0; i < columns; i++) {
      const at = middle + (<usize>i << 3);
      const place = next(places, 2 * DIGITS + (load<u32>(at) >> (2 * DIGIT_BITS)));
      store<f32>(row + (<usize>load<u32>(at, 4) << 2), <f32>(<f64>place / last));
    }
  }
}

// @ts-ignore: decorator
@inline
function key(row: usize, i: i32): u32 {
  return min<u32>(load<u32>(row + (<usize>i << 2)) & 0x7fffffff, NAN_KEY);
}

/** Where the next element of a digit goes. */
// @ts-ignore: decorator
@inline
function next(places: usize, digit: u32): u32 {
  const at = places + (<usize>digit << 2);
  const place = load<u32>(at);
  store<u32>(at, place + 1);
  return place;
}

/** Counts the digits of a row and turns the counts into first places. */
function countDigits(row: usize, columns: i32, places: usize): void {
  memory.fill(places, 0, (3 * DIGITS) << 2);
  for (let i = 0; i < columns; i++) {
    const k = key(row, i);
    next(places, k & (DIGITS - 1));
    next(places, DIGITS + ((k >> DIGIT_BITS) & (DIGITS - 1)));
    next(places, 2 * DIGITS + (k >> (2 * DIGIT_BITS)));
  }
  for (let table = 0; table < 3; table++) {
    let sum: u32 = 0;
    for (let digit = 0; digit < DIGITS; digit++) {
      const at = places + (<usize>(table * DIGITS + digit) << 2);
      const count = load<u32>(at);
      store<u32>(at, sum);
      sum += count;
    }
  }
}
