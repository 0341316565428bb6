// Eight-bit codes with a dynamic exponent, one scale for each block (Dettmers 2016, 1511.04561; Dettmers et al. 2022, 2110.02861).

export const BLOCK = 256;

/** The 256 values of codes, ascending: for e = 0 to 6 the midpoints of 2^e parts of [0.1, 1] (2^(e+1) without signs) times 10^(e-6), 0 and 1. */
export function dynamicMap(signed: boolean): Float32Array {
  const values = [0, 1];
  for (let e = 0; e < 7; e++) {
    const parts = 2 ** (signed ? e : e + 1);
    for (let i = 0; i < parts; i++) {
      const value = (0.1 + (0.9 * (i + 0.5)) / parts) * 10 ** (e - 6);
      values.push(value);
      if (signed) values.push(-value);
    }
  }
  return Float32Array.from(values).sort();
}

/** The code whose value lies nearest to x; the lower one of two as near. */
export function nearestCode(map: Float32Array, x: number): number {
  let [low, high] = [0, map.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((map[middle] as number) <= x) low = middle;
    else high = middle;
  }
  return x - (map[low] as number) <= (map[high] as number) - x ? low : high;
}

/** Codes of a block of numbers, and the scale: the largest magnitude. */
export function encodeBlock(map: Float32Array, values: Float64Array, count: number, codes: Uint8Array, at: number): number {
  let scale = 0;
  for (let i = 0; i < count; i++) scale = Math.max(scale, Math.abs(values[i] as number));
  const stored = Math.fround(scale);
  for (let i = 0; i < count; i++) codes[at + i] = nearestCode(map, stored === 0 ? 0 : (values[i] as number) / stored);
  return stored;
}
