// Learning rate over a run: linear warm-up, then a cosine down to a floor (Loshchilov & Hutter 2017, 1608.03983).

export interface Schedule {
  readonly peak: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
  /** Last learning rate as a fraction of the peak. */
  readonly floor: number;
}

/** Learning rate of step 1 to `totalSteps`. The first step already learns: warm-up ends at `peak` on step `warmupSteps`. */
export function learningRate(schedule: Schedule, step: number): number {
  const { peak, warmupSteps, totalSteps, floor } = schedule;
  if (step <= warmupSteps) return (peak * step) / warmupSteps;
  const progress = (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  return peak * (floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress))));
}
