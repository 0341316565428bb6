// The random numbers of merges: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a function
// of a counter and a key. Element i of a tensor draws word i mod 4 of block floor(i / 4), whoever computes it and when.
import type { RandomStream } from "./expr.ts";

/** Key of one tensor's random numbers: what does not change from element to element. 32-bit words. */
export interface RandomKey {
  readonly seedLow: number;
  readonly seedHigh: number;
  readonly nameLow: number;
  readonly nameHigh: number;
}

/** @param seed an integer in [0, 2^53). */
export function randomKey(seed: number, tensorName: string): RandomKey {
  const hash = hashName(tensorName);
  return { seedLow: seed >>> 0, seedHigh: Math.floor(seed / 2 ** 32) >>> 0, nameLow: Number(hash & 0xffffffffn), nameHigh: Number(hash >> 32n) };
}

/** 64-bit FNV-1a of the UTF-8 bytes. */
export function hashName(name: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(name)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

/** The stream's counter word. Its low byte stays free for block numbers beyond 2^32. */
export function streamWord(stream: RandomStream): number {
  if (!(stream.model >= 0 && stream.model < 65536 && stream.purpose >= 0 && stream.purpose < 256)) {
    throw new RangeError(`no random stream for model ${stream.model}, purpose ${stream.purpose}`);
  }
  return ((stream.model << 16) | (stream.purpose << 8)) >>> 0;
}

export type Words4 = readonly [number, number, number, number];

/** Ten rounds; all words are unsigned 32-bit. */
export function philox4x32(counter: Words4, key: readonly [number, number]): Words4 {
  let [x0, x1, x2, x3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, x0);
    const high1 = multiplyHigh(0xcd9e8d57, x2);
    const low0 = Math.imul(0xd2511f53, x0);
    const low1 = Math.imul(0xcd9e8d57, x2);
    [x0, x1, x2, x3] = [high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0];
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  return [x0 >>> 0, x1 >>> 0, x2 >>> 0, x3 >>> 0];
}

/** Upper 32 bits of the unsigned 64-bit product, in 16-bit limbs. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const bLow = b & 0xffff;
  const aHigh = a >>> 16;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) | 0;
}

/** Uniform numbers in [0, 1), multiples of 2^-24, for elements `first` (a multiple of four) and on. */
export function uniforms(key: RandomKey, stream: RandomStream, first: number, count: number): Float32Array {
  const out = new Float32Array(count);
  const word = streamWord(stream);
  for (let i = 0; i < count; i += 4) {
    const block = Math.floor((first + i) / 4);
    const counter: Words4 = [block % 2 ** 32, word + Math.floor(block / 2 ** 32), key.seedLow, key.seedHigh];
    philox4x32(counter, [key.nameLow, key.nameHigh]).forEach((bits, lane) => {
      if (i + lane < count) out[i + lane] = (bits >>> 8) * 2 ** -24;
    });
  }
  return out;
}
