// Normal noise that depends on seed, tensor and element alone, in float64 before the last rounding.
import { philox4x32, randomKey, streamWord } from "./rng.ts";

/** The purpose that keeps these draws apart from others of the same model. */
const PURPOSE = 7;

/** `count` draws from N(0, deviation^2) (Box and Muller 1958): two for each two words. */
export function normalNoise(seed: number, tensor: string, model: number, count: number, deviation: number): Float32Array {
  const { seedLow, seedHigh, nameLow, nameHigh } = randomKey(seed, tensor);
  const stream = streamWord({ model, purpose: PURPOSE });
  const out = new Float32Array(count);
  for (let i = 0; i < count; i += 4) {
    const words = philox4x32([i / 4, stream, nameLow, nameHigh], [seedLow, seedHigh]);
    for (let j = 0; j < 4 && i + j < count; j++) {
      const [u, v] = [words[j & 2] as number, words[(j & 2) + 1] as number];
      // u in (0, 1], where the logarithm is finite.
      const radius = deviation * Math.sqrt(-2 * Math.log((u + 1) / 2 ** 32));
      const angle = (2 * Math.PI * v) / 2 ** 32;
      out[i + j] = radius * (j & 1 ? Math.sin(angle) : Math.cos(angle));
    }
  }
  return out;
}
