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
  for (let start = from; start < to; start += block) {
    const n = min<i32>(block, to - start);
    const share = <i32>((<i64>keep * <i64>n + <i64>block - 1) / <i64>block);
    memory.fill(taken, 0, <usize>(n + 4) << 2);
    for (let v = 0; v < count; v++) {
      const values = <usize>load<u32>(vectors + (<usize>v << 2)) + (<usize>start << 2);
      makeKeys(values, taken, keys, n);
      takeLargest(keys, taken, values, n, share);
    }
  }
}

/** Keys whose order as signed numbers is: those that nobody took, by magnitude, before all others. What pads the last four is the least. */
function makeKeys(values: usize, taken: usize, keys: usize, n: i32): void {
  const magnitude = i32x4.splat(0x7fffffff);
  const most = i32x4.splat(NAN_KEY);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize>i << 2;
    v128.store(keys + at, v128.or(i32x4.min_s(v128.and(v128.load(values + at), magnitude), most), v128.load(taken + at)));
  }
  for (const end = (n + 3) & ~3; i < end; i++) {
    const at = <usize>i << 2;
    store<i32>(keys + at, i < n ? min<i32>(load<i32>(values + at) & 0x7fffffff, NAN_KEY) | load<i32>(taken + at) : TAKEN);
  }
}

function countAbove(keys: usize, n: i32, limit: i32): i32 {
  const bound = i32x4.splat(limit);
  let sum0 = i32x4.splat(0), sum1 = sum0;
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const at = keys + (<usize>i << 2);
    sum0 = i32x4.sub(sum0, i32x4.gt_s(v128.load(at), bound));
    sum1 = i32x4.sub(sum1, i32x4.gt_s(v128.load(at, 16), bound));
  }
  if (i < n) sum0 = i32x4.sub(sum0, i32x4.gt_s(v128.load(keys + (<usize>i << 2)), bound));
  sum0 = i32x4.add(sum0, sum1);
  return i32x4.extract_lane(sum0, 0) + i32x4.extract_lane(sum0, 1) + i32x4.extract_lane(sum0, 2) + i32x4.extract_lane(sum0, 3);
}

/** Writes 1 for the `share` largest keys, of equal ones the first, and 0 for the others; notes what is taken. */
function takeLargest(keys: usize, taken: usize, mask: usize, n: i32, share: i32): void {
  if (share <= 0) {
    memory.fill(mask, 0, <usize>n << 2);
    return;
  }
  const padded = (n + 3) & ~3;
  // The largest limit that at least `share` keys reach, bit by bit; no bit matters any more once exactly so many do.
  let limit: u32 = 0;
  let exact = false;
  for (let bit: u32 = 0x80000000; bit != 0 && !exact; bit >>= 1) {
    const reached = countAbove(keys, padded, <i32>((limit | bit) ^ 0x80000000) - 1);
    if (reached >= share) limit |= bit;
    exact = reached == share;
  }
  const least = <i32>(limit ^ 0x80000000);
  let ties = exact ? n : share - countAbove(keys, padded, least);
  let first = 0;
  if (exact) {
    const bound = i32x4.splat(least - 1);
    const one = f32x4.splat(1);
    const mark = i32x4.splat(TAKEN);
    for (; first + 4 <= n; first += 4) {
      const at = <usize>first << 2;
      const takes = i32x4.gt_s(v128.load(keys + at), bound);
      v128.store(mask + at, v128.and(takes, one));
      v128.store(taken + at, v128.or(v128.load(taken + at), v128.and(takes, mark)));
    }
  }
  for (let i = first; i < n; i++) {
    const at = <usize>i << 2;
    const key = load<i32>(keys + at);
    const takes = key > least || (key == least && ties-- > 0);
    store<f32>(mask + at, takes ? 1 : 0);
    if (takes) store<i32>(taken + at, TAKEN);
  }
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
