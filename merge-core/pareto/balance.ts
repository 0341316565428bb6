// How training for a whole front keeps one task from drowning the others, as the released code of PaLoRA (Dimitriadis et al., ICLR 2025) has it: `loss` weighs
// each task by 1 - its share of the losses of late, `gradient` divides each task's loss by its gradient's norm, `full` does both. Weights of `loss` are times
// T / (T - 1) here, so that equal losses weigh as without it.

export const BALANCES = ["none", "loss", "gradient", "full"] as const;
export type Balance = (typeof BALANCES)[number];

/** Losses that the share is a mean over. */
const WINDOW = 25;
const LEAST_NORM = 1e-3;

/** The losses of late, one row for each task; in one array, which is all there is to save. Its last number counts those ever seen. */
export const createWindow = (tasks: number): Float64Array => new Float64Array(tasks * WINDOW + 1);

/** Adds a loss of each task, in place. */
export function remember(window: Float64Array, losses: readonly number[]): void {
  const last = window.length - 1;
  const seen = window[last] ?? 0;
  for (const [task, loss] of losses.entries()) window[task * WINDOW + (seen % WINDOW)] = loss;
  window[last] = seen + 1;
}

/** Weights of the tasks by their losses of late; 1 where there are none yet. */
export function lossWeights(window: Float64Array, tasks: number): number[] {
  const count = Math.min(WINDOW, window.at(-1) ?? 0);
  const means = Array.from({ length: tasks }, (_, task) => window.subarray(task * WINDOW, task * WINDOW + count).reduce((sum, x) => sum + x, 0) / count);
  const sum = means.reduce((total, x) => total + x, 0);
  return means.map((mean) => (count > 0 && sum > 0 ? ((1 - mean / sum) * tasks) / (tasks - 1) : 1));
}

/** What a task's loss is multiplied by for its gradient. */
export const gradientWeight = (norm: number): number => 1 / (norm + LEAST_NORM);
