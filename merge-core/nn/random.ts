// Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
// A number depends on (seed, stream name, index) alone, so nothing has to be stored to resume a run.

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
const KEY_STEPS = [0x9e3779b9, 0xbb67ae85] as const;

/** One block: four 32-bit words from a counter of four and a key of two. */
export function philox(counter: readonly [number, number, number, number], key: readonly [number, number]): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(MULTIPLIERS[0], c0);
    const high1 = multiplyHigh(MULTIPLIERS[1], c2);
    const low0 = Math.imul(MULTIPLIERS[0], c0);
    const low1 = Math.imul(MULTIPLIERS[1], c2);
    [c0, c1, c2, c3] = [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0];
    k0 = (k0 + KEY_STEPS[0]) | 0;
    k1 = (k1 + KEY_STEPS[1]) | 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** Upper 32 bits of the unsigned 64-bit product. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const bLow = b & 0xffff;
  const aHigh = a >>> 16;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) | 0;
}

/** `count` numbers in [0, 1) with 32 random bits each. */
export function uniforms(seed: number, stream: string, count: number): Float64Array {
  const out = new Float64Array(count);
  const key = [seed | 0, Math.floor(seed / 2 ** 32) | 0] as const;
  const [low, high] = [hash(stream, 0x811c9dc5), hash(stream, 0x9747b28c)];
  for (let i = 0; i < count; i += 4) {
    const words = philox([i / 4, 0, low, high], key);
    for (let j = 0; j < 4 && i + j < count; j++) out[i + j] = (words[j] ?? 0) / 2 ** 32;
  }
  return out;
}

/** `count` draws from the standard normal distribution (Box and Muller 1958). */
export function normals(seed: number, stream: string, count: number): Float32Array {
  const u = uniforms(seed, stream, count * 2);
  // 1 - u lies in (0, 1], where the logarithm is finite.
  return Float32Array.from({ length: count }, (_, i) => Math.sqrt(-2 * Math.log(1 - (u[2 * i] ?? 0))) * Math.cos(2 * Math.PI * (u[2 * i + 1] ?? 0)));
}

/** 0 to `count` - 1 in random order (Fisher and Yates). */
export function permutation(seed: number, stream: string, count: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  const u = uniforms(seed, stream, count);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor((u[i] ?? 0) * (i + 1));
    [order[i], order[j]] = [order[j] ?? 0, order[i] ?? 0];
  }
  return order;
}

/** FNV-1a over UTF-16 units. */
function hash(text: string, start: number): number {
  let value = start;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value | 0;
}
