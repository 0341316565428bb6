// MeZO (Malladi et al. 2023, 2305.17333): a step from two losses, one on either side along a random direction that is made anew from its seed
// each time it is needed, so that training takes no more memory than running. Sparse-MeZO (Liu et al. 2024, 2402.15751) moves the small
// values of each parameter only.
import { normals } from "../../nn/random.ts";

export interface MezoSettings {
  /** How far along the direction losses are taken. */
  readonly distance: number;
  /** Share of each parameter, its largest magnitudes, that stays; 0 moves all. */
  readonly sparsity: number;
}

export interface MezoStep extends MezoSettings {
  readonly seed: number;
  readonly step: number;
  readonly lr: number;
  readonly weightDecay: number;
  readonly rateOf: (name: string) => number;
}

export interface MezoOutcome {
  /** Mean of the two losses. */
  readonly loss: number;
  /** Slope of the loss along the direction. */
  readonly slope: number;
}

/** Changes the parameters in place. @param lossOf the loss with the parameters as they are */
export function mezoStep(parameters: ReadonlyMap<string, Float32Array>, lossOf: () => number, at: MezoStep): MezoOutcome {
  const { seed, step, distance, sparsity } = at;
  // Chosen before anything moves: a value near the threshold must not change sides within a step.
  const still = new Map([...parameters].map(([name, values]) => [name, sparsity > 0 ? largest(values, sparsity) : undefined]));
  const shift = (by: (name: string) => number) => {
    for (const [name, values] of parameters) addDirection(values, normals(seed, `mezo/${step}/${name}`, values.length), still.get(name), by(name));
  };
  shift(() => distance);
  const above = lossOf();
  shift(() => -2 * distance);
  const below = lossOf();
  const slope = (above - below) / (2 * distance);
  for (const [name, values] of parameters) decayMoving(values, still.get(name), at.lr * at.rateOf(name) * at.weightDecay);
  shift((name) => distance - at.lr * at.rateOf(name) * slope);
  return { loss: (above + below) / 2, slope };
}

function addDirection(values: Float32Array, z: Float32Array, still: Uint8Array | undefined, factor: number): void {
  for (let i = 0; i < values.length; i++) if (still?.[i] !== 1) values[i] = (values[i] as number) + factor * (z[i] as number);
}

function decayMoving(values: Float32Array, still: Uint8Array | undefined, share: number): void {
  if (share === 0) return;
  for (let i = 0; i < values.length; i++) if (still?.[i] !== 1) values[i] = (values[i] as number) * (1 - share);
}

/** Marks the share of values with the largest magnitudes. */
function largest(values: Float32Array, share: number): Uint8Array {
  const magnitudes = values.map(Math.abs).sort();
  const threshold = magnitudes[Math.max(0, Math.ceil(values.length * (1 - share)) - 1)] as number;
  return Uint8Array.from(values, (x) => (Math.abs(x) > threshold ? 1 : 0));
}
