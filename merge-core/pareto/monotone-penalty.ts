// The multi-forward regulariser of PaMaL (Dimitriadis et al. 2023, 2210.09759): more weight on a task must not give it a larger loss. For each task the
// rays are sorted by its weight; R = sum over tasks of log mean over neighbours of exp(temperature * max(0, loss at the larger weight - loss at the smaller)).
// The released code penalises the opposite, losses that rise as the weight falls, which is what should happen; this is the paper's intent.

export interface MonotonePenalty {
  readonly value: number;
  /** Of the penalty with respect to the loss of each task at each ray, [ray][task]. */
  readonly slopes: readonly (readonly number[])[];
}

/** @param rays weights, [ray][task] @param losses of the same shape */
export function monotonePenalty(rays: readonly (readonly number[])[], losses: readonly (readonly number[])[], temperature = 1): MonotonePenalty {
  const slopes = losses.map((row) => row.map(() => 0));
  let value = 0;
  for (const task of rays[0]?.keys() ?? []) {
    const order = [...rays.keys()].sort((i, j) => (rays[i]?.[task] ?? 0) - (rays[j]?.[task] ?? 0) || i - j);
    const pairs = order.slice(1).map((upper, k) => ({ lower: order[k] ?? 0, upper }));
    if (pairs.length === 0) continue;
    const rises = pairs.map(({ lower, upper }) => Math.max(0, (losses[upper]?.[task] ?? 0) - (losses[lower]?.[task] ?? 0)));
    const weights = rises.map((rise) => Math.exp(temperature * rise));
    const sum = weights.reduce((a, b) => a + b, 0);
    value += Math.log(sum / pairs.length);
    for (const [k, { lower, upper }] of pairs.entries()) {
      if (rises[k] === 0) continue;
      const slope = (temperature * (weights[k] ?? 0)) / sum;
      addTo(slopes, upper, task, slope);
      addTo(slopes, lower, task, -slope);
    }
  }
  return { value, slopes };
}

function addTo(slopes: number[][], ray: number, task: number, slope: number): void {
  const row = slopes[ray];
  if (row !== undefined) row[task] = (row[task] ?? 0) + slope;
}
