// Preferences that training for a whole front learns at: vectors of one weight for each task, summing to 1.
import type { RandomStream } from "./random-stream.ts";
import { simplexLattice } from "./reference-directions.ts";

/** Distance of the outermost rays from the simplex's edge: at weight 0 a task's own parameters would get no gradient. */
const EDGE = 0.01;

/** Evenly spread rays, as many as a lattice allows without exceeding `most`, but at least one for each task. */
export function evenRays(tasks: number, most: number): number[][] {
  let divisions = 1;
  while (tasks > 1 && simplexLattice(tasks, divisions + 1).length <= most) divisions++;
  return simplexLattice(tasks, divisions).map((ray) => ray.map((a) => EDGE + (1 - tasks * EDGE) * a));
}

/**
 * Rays of PaLoRA (Dimitriadis et al. 2025): all at the barycentre at first, so that what is shared is learnt first, then pushed to the corners:
 * every weight to the power strength * progress, and the sum to 1 again.
 * @param progress from 0 to 1
 */
export function annealRays(rays: readonly (readonly number[])[], progress: number, strength: number): number[][] {
  return rays.map((ray) => {
    const powered = ray.map((a) => a ** (strength * progress));
    const sum = powered.reduce((x, y) => x + y, 0);
    return powered.map((a) => a / sum);
  });
}

/** A draw from the Dirichlet distribution with all concentrations equal, by gamma variates (Marsaglia and Tsang 2000). */
export function dirichlet(tasks: number, concentration: number, random: RandomStream): number[] {
  const draws = Array.from({ length: tasks }, () => gamma(concentration, random));
  const sum = draws.reduce((a, b) => a + b, 0);
  return draws.map((x) => x / sum);
}

function gamma(shape: number, random: RandomStream): number {
  if (shape < 1) return gamma(shape + 1, random) * (1 - random.uniform()) ** (1 / shape);
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = random.normal();
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}
