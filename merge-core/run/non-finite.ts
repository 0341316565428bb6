// Counts NaN and infinities in stored bytes without decoding them, 32 bits at a time: a number is not finite if all bits of
// its exponent are set, and then adding one to the exponent carries into the sign bit's place, which the mask has cleared.
import { type DType, type FloatDType, isFloat } from "../formats/dtypes.ts";

interface Pattern {
  /** The exponent bits of every number in a word; F8_E4M3 has no infinity, and NaN in one magnitude only. */
  readonly exponents: number;
  readonly ones: number;
  readonly signs: number;
  /** Words from one exponent to the next, and the first that holds one. */
  readonly stride: number;
  readonly first: number;
}

const PATTERNS: Readonly<Record<FloatDType, Pattern>> = {
  F64: { exponents: 0x7ff00000, ones: 0x00100000, signs: 0x80000000, stride: 2, first: 1 },
  F32: { exponents: 0x7f800000, ones: 0x00800000, signs: 0x80000000, stride: 1, first: 0 },
  F16: { exponents: 0x7c007c00, ones: 0x04000400, signs: 0x80008000, stride: 1, first: 0 },
  BF16: { exponents: 0x7f807f80, ones: 0x00800080, signs: 0x80008000, stride: 1, first: 0 },
  F8_E4M3: { exponents: 0x7f7f7f7f, ones: 0x01010101, signs: 0x80808080, stride: 1, first: 0 },
  F8_E5M2: { exponents: 0x7c7c7c7c, ones: 0x04040404, signs: 0x80808080, stride: 1, first: 0 },
};

/** How many of the little-endian elements in `bytes` are NaN or infinite; integers have none. `bytes` must start at a multiple of 4. */
export function countNonFinite(dtype: DType, bytes: Uint8Array): number {
  if (!isFloat(dtype)) return 0;
  const whole = bytes.byteLength >> 2;
  const tail = new Uint8Array(4);
  // Zeros are finite, so that a last word may be filled up with them.
  tail.set(bytes.subarray(whole * 4));
  return countInWords(PATTERNS[dtype], new Int32Array(bytes.buffer, bytes.byteOffset, whole)) + countInWords(PATTERNS[dtype], new Int32Array(tail.buffer));
}

function countInWords({ exponents, ones, signs, stride, first }: Pattern, words: Int32Array): number {
  const signBits = signs | 0;
  let count = 0;
  for (let i = first; i < words.length; i += stride) {
    // "| 0" keeps the sum in 32-bit integers, which is several times faster.
    const carried = ((((words[i] ?? 0) & exponents) + ones) | 0) & signBits;
    if (carried !== 0) count += bitCount(carried);
  }
  return count;
}

function bitCount(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}
