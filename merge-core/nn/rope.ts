// Rotary position embeddings (Su et al. 2021, 2104.09864) in the Hugging Face layout: dimension i is paired with i + headDim/2.
import type { DecoderConfig, RopeScaling } from "./config.ts";

/** cos and sin of every angle, row-major [positions, headDim / 2]. */
export interface RopeTable {
  readonly positions: number;
  readonly half: number;
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** Angles for positions 0 to `positions` - 1. Frequencies and angles are rounded to f32 as transformers does, so that long contexts agree. */
export function ropeTable(
  config: Pick<DecoderConfig, "headDim" | "ropeTheta" | "ropeScaling"> & Partial<Pick<DecoderConfig, "modelType">>,
  positions: number,
): RopeTable {
  // Learned positions are added to the embedding; nothing rotates.
  const half = config.modelType === "gpt2" ? 0 : config.headDim / 2;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(scaled(config.ropeTheta ** (-i / half), config.ropeScaling));
    for (let position = 0; position < positions; position++) {
      const angle = Math.fround(position * frequency);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  return { positions, half, cos, sin };
}

function scaled(frequency: number, scaling: RopeScaling | undefined): number {
  if (scaling === undefined) return frequency;
  if (scaling.type === "linear") return frequency / scaling.factor;
  // Llama 3: long wavelengths are stretched, short ones kept, those between interpolated.
  const wavelength = (2 * Math.PI) / frequency;
  const { lowFreqFactor, highFreqFactor, originalContext, factor } = scaling;
  if (wavelength < originalContext / highFreqFactor) return frequency;
  if (wavelength > originalContext / lowFreqFactor) return frequency / factor;
  const smooth = (originalContext / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}
