// The random numbers of training: a number depends on (seed, stream name, index) alone, so nothing has to be stored to resume a run.
import { philox4x32 } from "../compute/rng.ts";

/** `count` numbers in [0, 1) with 32 random bits each. */
export function uniforms(seed: number, stream: string, count: number): Float64Array {
  const out = new Float64Array(count);
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0] as const;
  const [low, high] = [hash(stream, 0x811c9dc5), hash(stream, 0x9747b28c)];
  for (let i = 0; i < count; i += 4) {
    const words = philox4x32([i / 4, 0, low, high], key);
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
  return value >>> 0;
}
