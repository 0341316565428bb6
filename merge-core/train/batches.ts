// Which rows make up which step: a pure function of seed and step number, so that a resumed run needs nothing else.
import type { TokenRow } from "../nn/data.ts";
import { permutation } from "../nn/random.ts";
import type { TrainConfig } from "./config.ts";

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

/**
 * Every row once: shuffled and cut into steps. Rows are sorted by length inside a step only, so that its micro-batches pad less: steps of one
 * length each would pad less still, but where length goes with task, their gradients pull one way after the other.
 */
function epochSteps(rows: readonly TokenRow[], perStep: number, seed: number, epoch: number): TokenRow[][] {
  const shuffled = permutation(seed, `rows/${epoch}`, rows.length).flatMap((i) => rows[i] ?? []);
  return Array.from({ length: Math.ceil(shuffled.length / perStep) }, (_, i) =>
    shuffled.slice(i * perStep, (i + 1) * perStep).sort((a, b) => a.tokens.length - b.tokens.length),
  );
}
