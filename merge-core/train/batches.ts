// Which rows make up which step: a pure function of seed and step number, so that a resumed run needs nothing else.
import type { TokenRow } from "../nn/data.ts";
import { permutation } from "../nn/random.ts";
import type { TrainConfig } from "./config.ts";

/** Steps whose rows are sorted by length together before being cut; larger pads less, smaller mixes more. */
const BUCKET_STEPS = 16;

export interface BatchPlan {
  readonly rows: readonly TokenRow[];
  readonly totalSteps: number;
  /** The rows of step 1 to `totalSteps`, divided into micro-batches that are computed one after the other. */
  ofStep(step: number): TokenRow[][];
}

export function planBatches(config: Pick<TrainConfig, "batchSize" | "gradientAccumulation" | "seed" | "length">, rows: readonly TokenRow[]): BatchPlan {
  const { batchSize, gradientAccumulation, seed, length } = config;
  const perStep = batchSize * gradientAccumulation;
  const stepsPerEpoch = Math.ceil(rows.length / perStep);
  let current: { epoch: number; steps: TokenRow[][] } | undefined;
  return {
    rows,
    totalSteps: "steps" in length ? length.steps : Math.max(1, Math.round(length.epochs * stepsPerEpoch)),
    ofStep(step) {
      const epoch = Math.floor((step - 1) / stepsPerEpoch);
      if (current?.epoch !== epoch) current = { epoch, steps: epochSteps(rows, perStep, seed, epoch) };
      const members = current.steps[(step - 1) % stepsPerEpoch] ?? [];
      return Array.from({ length: Math.ceil(members.length / batchSize) }, (_, i) => members.slice(i * batchSize, (i + 1) * batchSize));
    },
  };
}

/** Every row once: shuffled, sorted by length within stretches of the shuffle, cut into steps, the steps shuffled again. */
function epochSteps(rows: readonly TokenRow[], perStep: number, seed: number, epoch: number): TokenRow[][] {
  const shuffled = permutation(seed, `rows/${epoch}`, rows.length).flatMap((i) => rows[i] ?? []);
  const steps: TokenRow[][] = [];
  for (let start = 0; start < shuffled.length; start += perStep * BUCKET_STEPS) {
    const bucket = shuffled.slice(start, start + perStep * BUCKET_STEPS).sort((a, b) => a.tokens.length - b.tokens.length);
    for (let i = 0; i < bucket.length; i += perStep) steps.push(bucket.slice(i, i + perStep));
  }
  return permutation(seed, `steps/${epoch}`, steps.length).map((i) => steps[i] ?? []);
}
