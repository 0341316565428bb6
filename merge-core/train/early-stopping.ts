// When a run has stopped getting better on the validation set (Prechelt 1998).
import type { EarlyStopping } from "./config.ts";

export interface Measurement {
  readonly step: number;
  readonly loss: number;
}

/** The lowest loss so far, and whether the run is to stop after the last measurement. */
export interface Watched {
  readonly best: Measurement | undefined;
  readonly over: boolean;
}

/** A function of all measurements in their order, so that a resumed run judges as an unbroken one does. */
export function watchLosses(measurements: readonly Measurement[], { patience, minDelta }: EarlyStopping): Watched {
  let best: Measurement | undefined;
  let worse = 0;
  for (const one of measurements) {
    const better = best === undefined || one.loss < best.loss - minDelta;
    if (better) best = one;
    worse = better ? 0 : worse + 1;
  }
  return { best, over: worse >= patience };
}
