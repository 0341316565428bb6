// Random masks whose probability goes by the place of each magnitude in its row, without sorting the row. The random number alone
// decides about most elements: places only matter where it lies between the probabilities of the first and of the last place. Counts of
// the keys' upper bits bound the place of the others, and tell it where no lower bit is set, as in most differences of bfloat16 numbers:
// those are all equal, and the first of their bin. The few elements about which that leaves doubt are ranked by counting.
// Keys are those of kernels/select.ts, random numbers those of kernels/philox.ts.
import { rowRanks, rowRanksScratchBytes } from "./order";
import { drawWords } from "./philox";

const NAN_KEY = 0x7f800001;
/** Rows up to this long are ranked by counting throughout. */
const SHORT: i32 = 16;
/** With more elements in doubt than this, sorting the row is faster. */
const MAX_DOUBTS: i32 = 96;
const UNIT: f32 = reinterpret<f32>(0x33800000);

/** Where things lie in the scratch: the probability of each place; random words; two counters per bin; limits per bin; elements in doubt. */
let chances: usize = 0;
let words: usize = 0;
let counters: usize = 0;
let limits: usize = 0;
let doubts: usize = 0;
let sorting: usize = 0;
/** Bits of a key that do not tell its bin, and how many bins there are. */
let shift: i32 = 0;
let bins: i32 = 0;

/** The longer the row, the finer the bins: of an order of magnitude 32, 64 or 128. What is smaller than eight to sixteen of them tell shares a bin. */
function chooseBins(columns: i32): void {
  shift = columns < 512 ? 18 : columns < 4096 ? 17 : 16;
  bins = columns < 512 ? 256 : columns < 1024 ? 768 : columns < 4096 ? 1024 : 2048;
}

/** Random words drawn at a time: for one long row, or for several short ones. */
function windowFor(columns: i32): i32 {
  if (columns <= 1024) return 4096;
  return (columns & 31) == 0 ? columns : (columns + 95) & ~31;
}

@inline
function chanceBytes(columns: i32): i32 {
  return ((columns + 31) & ~15) << 2;
}

/** Bytes of scratch for rows of `columns`. */
export function drawByRankScratchBytes(columns: i32): i32 {
  chooseBins(columns);
  return chanceBytes(columns) + windowFor(columns) * 4 + bins * 16 + MAX_DOUBTS * 8 + rowRanksScratchBytes(columns);
}

function useScratch(scratch: usize, columns: i32): void {
  chooseBins(columns);
  // One number before the first may be read.
  chances = scratch + 16;
  words = scratch + chanceBytes(columns);
  counters = words + (<usize>windowFor(columns) << 2);
  limits = counters + (<usize>bins << 3);
  doubts = limits + (<usize>bins << 3);
  sorting = doubts + (MAX_DOUBTS << 3);
}

/**
 * Replaces `rows` rows by 1 where the element's random number is below `low` + `span` times its place in the row, from 0 to 1 by ascending
 * magnitude, ties in index order, 0.5 in rows of one; else by 0. `span` is not negative. `start` is the number of the first element in the
 * tensor, a multiple of 32.
 */
export function drawByRank(
  values: usize, columns: i32, rows: i32, low: f32, span: f32, start: f64,
  stream: i32, seedLow: i32, seedHigh: i32, keyLow: i32, keyHigh: i32, scratch: usize,
): void {
  useScratch(scratch, columns);
  const last = <f64>(columns - 1);
  for (let i = 0; i < columns; i++) store<f32>(chances + (<usize>i << 2), low + span * (columns == 1 ? <f32>0.5 : <f32>(<f64>i / last)));
  const window = windowFor(columns);
  let first: f64 = 0;
  let end: f64 = -1;
  for (let r = 0; r < rows; r++) {
    const element = start + <f64>r * <f64>columns;
    const row = values + (<usize>r * <usize>columns << 2);
    let isSorted = false;
    for (let isDone = false; !isDone; ) {
      if (element + <f64>columns > end) {
        first = Math.floor(element / 32) * 32;
        end = first + <f64>window;
        drawWords(words, window, first, stream, seedLow, seedHigh, keyLow, keyHigh);
      }
      const drawn = words + (<usize>(element - first) << 2);
      isDone = true;
      if (isSorted) compareRow(row, columns, drawn, low, span);
      else if (drawRow(row, columns, drawn)) memory.copy(row, drawn, <usize>columns << 2);
      else {
        rowRanks(row, columns, 0, 1, sorting);
        isSorted = true;
        // The random words are spoilt.
        end = -1;
        isDone = false;
      }
    }
  }
}

@inline
function uniform(word: u32): f32 {
  return <f32><i32>(word >> 8) * UNIT;
}

/** The mask by ranks at hand. */
function compareRow(row: usize, n: i32, drawn: usize, low: f32, span: f32): void {
  for (const end = row + (<usize>n << 2); row < end; row += 4) {
    store<f32>(row, uniform(load<u32>(drawn)) < low + span * load<f32>(row) ? 1 : 0);
    drawn += 4;
  }
}

/** Turns a row into keys and its random words into the mask; false if too many elements are in doubt. */
function drawRow(row: usize, n: i32, drawn: usize): bool {
  const base = (makeKeys(row, n) >> shift) - (bins - 1);
  if (n <= SHORT) {
    for (let i = 0; i < n; i++) decideByCounting(row, n, i, drawn, uniform(load<u32>(drawn + (<usize>i << 2))));
    return true;
  }
  const hasMixed = countBins(row, n, base);
  if (hasMixed) setPlaces(true);
  else setPlaces(false);
  const count = hasMixed ? decide(row, n, base, drawn, true) : decide(row, n, base, drawn, false);
  for (let d = 0; d < count; d++) {
    const doubt = doubts + (<usize>d << 3);
    decideByCounting(row, n, load<i32>(doubt), drawn, load<f32>(doubt, 4));
  }
  return count >= 0;
}

/** Returns the largest key. */
function makeKeys(row: usize, n: i32): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const nan = i32x4.splat(NAN_KEY);
  let most = i32x4.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = row + (<usize>i << 2);
    const key = i32x4.min_s(v128.and(v128.load(at), magnitude), nan);
    most = i32x4.max_s(most, key);
    v128.store(at, key);
  }
  let last = max<i32>(
    max<i32>(i32x4.extract_lane(most, 0), i32x4.extract_lane(most, 1)),
    max<i32>(i32x4.extract_lane(most, 2), i32x4.extract_lane(most, 3)),
  );
  for (; i < n; i++) {
    const at = row + (<usize>i << 2);
    const key = min<i32>(load<i32>(at) & 0x7fffffff, NAN_KEY);
    last = max<i32>(last, key);
    store<i32>(at, key);
  }
  return last;
}

/** Bin 0 is zero's, bin 1 that of all below the others. */
@inline
function binsOf(keys: v128, base: v128, bits: i32): v128 {
  return i32x4.min_s(i32x4.max_s(i32x4.sub(i32x4.shr_u(keys, bits), base), i32x4.splat(1)), keys);
}

@inline
function binOf(key: i32, base: i32): i32 {
  return min<i32>(max<i32>((key >> shift) - base, 1), key);
}

/** Keys, as -1, that may differ from others of their bin: those with lower bits, and all of bin 1. */
@inline
function mixedOf(keys: v128, bin: v128, lower: v128): v128 {
  return v128.or(i32x4.eq(bin, i32x4.splat(1)), i32x4.ne(v128.and(keys, lower), i32x4.splat(0)));
}

@inline
function isMixed(key: i32, bin: i32): bool {
  return bin == 1 || (key & ((1 << shift) - 1)) != 0;
}

/** A bin's counter: its second counts the mixed ones. */
@inline
function counter(half: i32): usize {
  return counters + (<usize>half << 2);
}

@inline
function count1(half: i32): void {
  const at = counter(half);
  store<i32>(at, load<i32>(at) + 1);
}

/** Counts the keys of each bin; returns whether any are mixed. */
function countBins(row: usize, n: i32, base: i32): bool {
  memory.fill(counters, 0, <usize>bins << 3);
  const bases = i32x4.splat(base);
  const bits = shift;
  const lower = i32x4.splat((1 << shift) - 1);
  let any = i32x4.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const keys = v128.load(row + (<usize>i << 2));
    const bin = binsOf(keys, bases, bits);
    const mixed = mixedOf(keys, bin, lower);
    const half = i32x4.sub(i32x4.shl(bin, 1), mixed);
    any = v128.or(any, mixed);
    count1(i32x4.extract_lane(half, 0));
    count1(i32x4.extract_lane(half, 1));
    count1(i32x4.extract_lane(half, 2));
    count1(i32x4.extract_lane(half, 3));
  }
  let found = v128.any_true(any);
  for (; i < n; i++) {
    const key = load<i32>(row + (<usize>i << 2));
    const bin = binOf(key, base);
    const mixed = isMixed(key, bin);
    found = found || mixed;
    count1(2 * bin + <i32>mixed);
  }
  return found;
}

/** Turns the counts into first places and notes between which random numbers a mixed key of each bin is in doubt. */
@inline
function setPlaces(hasMixed: bool): void {
  let place: i32 = 0;
  for (let bin = 0; bin < bins; bin++) {
    const at = counter(2 * bin);
    const equal = load<i32>(at);
    const mixed = load<i32>(at, 4);
    store<i32>(at, place);
    place += equal;
    if (hasMixed) {
      store<i32>(at, place, 4);
      const limit = limits + (<usize>bin << 3);
      store<f32>(limit, load<f32>(chances + (<usize>place << 2)));
      place += mixed;
      store<f32>(limit, load<f32>(chances + (<usize>place << 2) - 4), 4);
    }
  }
}

/** The probability of the next place. */
@inline
function next(half: i32): usize {
  const at = counter(half);
  const place = load<i32>(at);
  store<i32>(at, place + 1);
  return chances + (<usize>place << 2);
}

/**
 * Masks as if each bin's mixed keys were equal: right too where all their places agree. The others are noted; returns how many there
 * are, or -1 if they are too many.
 */
@inline
function decide(row: usize, n: i32, base: i32, drawn: usize, hasMixed: bool): i32 {
  const bases = i32x4.splat(base);
  const bits = shift;
  const lower = i32x4.splat((1 << shift) - 1);
  const one = f32x4.splat(1);
  const unit = f32x4.splat(UNIT);
  let count: i32 = 0;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize>i << 2;
    const keys = v128.load(row + at);
    const bin = binsOf(keys, bases, bits);
    const mixed = hasMixed ? mixedOf(keys, bin, lower) : i32x4.splat(0);
    const half = i32x4.sub(i32x4.shl(bin, 1), mixed);
    const random = f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(v128.load(drawn + at), 8)), unit);
    let chance = v128.load32_zero(next(i32x4.extract_lane(half, 0)));
    chance = v128.load32_lane(next(i32x4.extract_lane(half, 1)), chance, 1);
    chance = v128.load32_lane(next(i32x4.extract_lane(half, 2)), chance, 2);
    chance = v128.load32_lane(next(i32x4.extract_lane(half, 3)), chance, 3);
    v128.store(drawn + at, v128.and(f32x4.lt(random, chance), one));
    if (hasMixed) {
      const place = i32x4.shl(bin, 3);
      const pair0 = v128.load64_lane(limits + i32x4.extract_lane(place, 1), v128.load64_zero(limits + i32x4.extract_lane(place, 0)), 1);
      const pair1 = v128.load64_lane(limits + i32x4.extract_lane(place, 3), v128.load64_zero(limits + i32x4.extract_lane(place, 2)), 1);
      const from = v128.shuffle<i32>(pair0, pair1, 0, 2, 4, 6);
      const to = v128.shuffle<i32>(pair0, pair1, 1, 3, 5, 7);
      const doubt = v128.and(mixed, v128.and(f32x4.ge(random, from), f32x4.lt(random, to)));
      if (v128.any_true(doubt)) {
        if (count + 4 > MAX_DOUBTS) return -1;
        const lanes = i32x4.bitmask(doubt);
        if (lanes & 1) count = note(count, i, f32x4.extract_lane(random, 0));
        if (lanes & 2) count = note(count, i + 1, f32x4.extract_lane(random, 1));
        if (lanes & 4) count = note(count, i + 2, f32x4.extract_lane(random, 2));
        if (lanes & 8) count = note(count, i + 3, f32x4.extract_lane(random, 3));
      }
    }
  }
  for (; i < n; i++) {
    const at = drawn + (<usize>i << 2);
    const key = load<i32>(row + (<usize>i << 2));
    const bin = binOf(key, base);
    const mixed = isMixed(key, bin);
    const random = uniform(load<u32>(at));
    store<f32>(at, random < load<f32>(next(2 * bin + <i32>mixed)) ? 1 : 0);
    const limit = limits + (<usize>bin << 3);
    if (!mixed || random < load<f32>(limit) || random >= load<f32>(limit, 4)) continue;
    if (count == MAX_DOUBTS) return -1;
    count = note(count, i, random);
  }
  return count;
}

@inline
function note(count: i32, i: i32, random: f32): i32 {
  const doubt = doubts + (<usize>count << 3);
  store<i32>(doubt, i);
  store<f32>(doubt, random, 4);
  return count + 1;
}

/** The mask of one element, by counting the keys before its own. */
function decideByCounting(row: usize, n: i32, i: i32, drawn: usize, random: f32): void {
  const at = <usize>i << 2;
  const key = load<i32>(row + at);
  const place = countUpTo(row, i, key) + countUpTo(row + at, n - i, key - 1);
  store<f32>(drawn + at, random < load<f32>(chances + (<usize>place << 2)) ? 1 : 0);
}

/** How many of `n` keys are at most `limit`. */
@inline
function countUpTo(keys: usize, n: i32, limit: i32): i32 {
  const bound = i32x4.splat(limit);
  let sum0 = i32x4.splat(0), sum1 = sum0;
  const end = keys + (<usize>n << 2);
  for (; keys + 32 <= end; keys += 32) {
    sum0 = i32x4.sub(sum0, i32x4.le_s(v128.load(keys), bound));
    sum1 = i32x4.sub(sum1, i32x4.le_s(v128.load(keys, 16), bound));
  }
  sum0 = i32x4.add(sum0, sum1);
  let sum = i32x4.extract_lane(sum0, 0) + i32x4.extract_lane(sum0, 1) + i32x4.extract_lane(sum0, 2) + i32x4.extract_lane(sum0, 3);
  for (; keys < end; keys += 4) sum += <i32>(load<i32>(keys) <= limit);
  return sum;
}

/** Zeros and ones as float32 to bits, the first the lowest. Reads and writes up to the next multiple of 16 elements. */
export function packMask(values: usize, bits: usize, n: i32): void {
  for (const end = values + (<usize>n << 2); values < end; values += 64) {
    const low = i16x8.narrow_i32x4_s(i32x4.shl(v128.load(values), 2), i32x4.shl(v128.load(values, 16), 2));
    const high = i16x8.narrow_i32x4_s(i32x4.shl(v128.load(values, 32), 2), i32x4.shl(v128.load(values, 48), 2));
    store<u16>(bits, <u16>i8x16.bitmask(i8x16.narrow_i16x8_s(low, high)));
    bits += 2;
  }
}
