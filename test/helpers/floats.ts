// Hard float32 numbers and bit-for-bit comparison.
import assert from "node:assert/strict";

const bitsToFloat = (...words: number[]): number[] => [...new Float32Array(Uint32Array.from(words).buffer)];

/** Zeros, subnormals, the largest, the smallest, infinities, NaN, ones and their neighbours. */
export const SPECIALS: readonly number[] = [
  ...[0, -0, 1, -1, 0.5, 2, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ...bitsToFloat(1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f800001, 0x3f7fffff, 0x7f7f8000, 0x7f7f7fff),
];

/** Random numbers of a fixed seed (mulberry32), as unsigned 32-bit words. */
export function randomWords(count: number, seed: number): Uint32Array {
  let state = seed;
  return Uint32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return t ^ (t >>> 14);
  });
}

/** Every kind of float32, from random bits. */
export function randomBits(count: number, seed: number): Float32Array {
  return new Float32Array(randomWords(count, seed).buffer);
}

/** Values as in trained weights: a bell around 0, a hundredth wide. */
export function randomWeights(count: number, seed: number): Float32Array {
  const words = randomWords(count * 4, seed);
  return Float32Array.from({ length: count }, (_, i) => {
    let sum = -2;
    for (let j = 0; j < 4; j++) sum += (words[4 * i + j] as number) / 2 ** 32;
    return sum * 0.02;
  });
}

/** Equal as bits; any NaN equals any NaN. */
export function sameBits(actual: Float32Array, expected: Float32Array, label = ""): void {
  assert.equal(actual.length, expected.length, label);
  const a = new Uint32Array(actual.slice().buffer);
  const b = new Uint32Array(expected.slice().buffer);
  const wrong = a.findIndex((word, i) => word !== b[i] && !(Number.isNaN(actual[i]) && Number.isNaN(expected[i])));
  assert.equal(wrong, -1, `${label} element ${wrong}: ${actual[wrong]} instead of ${expected[wrong]}`);
}
