// The k elements of largest magnitude of values at hand, digit by digit of the key, the upper bits of which most elements do not share.
// Plain loops: with callbacks they were most of the time of merging a small model.
import type { MagnitudeSelection } from "./expr.ts";
import { keyToValue, NAN_KEY } from "./reference.ts";

/** All but the sign. */
const MAGNITUDE = 0x7fffffff;
/** The digits of a key below the first, highest first: where each begins, and how many bits it has. */
const LOWER_DIGITS = [
  [10, 10],
  [0, 10],
] as const;
const FIRST_SHIFT = 20;
/** NaNs differ in their bits, but all have one key, which is the largest. */
const LAST_DIGIT = NAN_KEY >>> FIRST_SHIFT;

/** @param keep from 1 to the number of values less 1 */
export function selectInMemory(values: Float32Array, keep: number): MagnitudeSelection {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const counts = countFirstDigits(bits);
  let bin = LAST_DIGIT;
  let left = keep;
  for (; left > (counts[bin] as number); bin--) left -= counts[bin] as number;
  let candidates = keysOfBin(bits, bin, counts[bin] as number);
  for (const [shift, width] of LOWER_DIGITS) {
    const mask = (1 << width) - 1;
    const own = countDigits(candidates, shift, mask);
    let digit = mask;
    for (; left > (own[digit] as number); digit--) left -= own[digit] as number;
    candidates = withDigit(candidates, shift, mask, digit, own[digit] as number);
  }
  const key = candidates[0] as number;
  const isCut = left < candidates.length;
  return { threshold: keyToValue(key), tieLimit: isCut ? placeOf(bits, key, left) + 1 : Number.POSITIVE_INFINITY };
}

function countFirstDigits(bits: Int32Array): Int32Array {
  const counts = new Int32Array((MAGNITUDE >>> FIRST_SHIFT) + 1);
  for (let i = 0; i < bits.length; i++) {
    const digit = ((bits[i] as number) & MAGNITUDE) >>> FIRST_SHIFT;
    counts[digit] = (counts[digit] as number) + 1;
  }
  for (let digit = LAST_DIGIT + 1; digit < counts.length; digit++) counts[LAST_DIGIT] = (counts[LAST_DIGIT] as number) + (counts[digit] as number);
  return counts;
}

function keysOfBin(bits: Int32Array, bin: number, count: number): Int32Array {
  // One more for what is written and not counted: a processor cannot guess which elements belong, so that a branch would cost more.
  const found = new Int32Array(count + 1);
  for (let i = 0, at = 0; i < bits.length; i++) {
    const key = keyOf(bits[i] as number);
    found[at] = key;
    at = (at + isZero((key >>> FIRST_SHIFT) ^ bin)) | 0;
  }
  return found.subarray(0, count);
}

/** NaNs have the last key there is. */
const keyOf = (word: number): number => {
  const key = word & MAGNITUDE;
  return key > NAN_KEY ? NAN_KEY : key;
};

/** 1 for zero, 0 for numbers above. */
const isZero = (n: number): number => ((n - 1) >>> 31) | 0;

function countDigits(keys: Int32Array, shift: number, mask: number): Int32Array {
  const counts = new Int32Array(mask + 1);
  for (let i = 0; i < keys.length; i++) {
    const digit = ((keys[i] as number) >>> shift) & mask;
    counts[digit] = (counts[digit] as number) + 1;
  }
  return counts;
}

function withDigit(keys: Int32Array, shift: number, mask: number, digit: number, count: number): Int32Array {
  const found = new Int32Array(count);
  for (let i = 0, at = 0; at < count; i++) if ((((keys[i] as number) >>> shift) & mask) === digit) found[at++] = keys[i] as number;
  return found;
}

/** Index of the element that is number `rank` of those with this key. */
function placeOf(bits: Int32Array, key: number, rank: number): number {
  let left = rank;
  let i = 0;
  for (; left > 0; i++) left = (left - isZero(keyOf(bits[i] as number) ^ key)) | 0;
  return i - 1;
}
