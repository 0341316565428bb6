// One optimiser step of a run: from the gradients of the loss, or from losses alone.
import * as tf from "@tensorflow/tfjs-core";
import { WeightsmithError } from "../diagnostics.ts";
import type { TokenRow } from "../nn/data.ts";
import type { RopeTable } from "../nn/rope.ts";
import { allLiveValues, liveValues } from "../nn/storage.ts";
import type { BatchPlan } from "./batches.ts";
import type { TrainConfig } from "./config.ts";
import { factorPairs } from "./factor-pairs.ts";
import { stepGradients, stepLoss, type TrainingPass } from "./gradients.ts";
import type { Optimizer } from "./make-optimizer.ts";
import { loraProGradients } from "./optimisers/lora-pro.ts";
import { mezoStep } from "./optimisers/mezo.ts";
import { globalNorm } from "./optimizer.ts";
import { learningRate } from "./schedule.ts";
import type { GradientOf, Trainable } from "./trainable.ts";

export interface SteppedRun {
  readonly config: TrainConfig;
  readonly trainable: Trainable;
  readonly optimizer: Optimizer;
  readonly batches: BatchPlan;
  readonly table: RopeTable;
}

export interface StepOutcome {
  readonly loss: number;
  readonly lr: number;
  /** Of all gradients together; without gradients, of the slope along the one direction. */
  readonly gradNorm: number;
  readonly tokens: number;
}

/**
 * @param onChange called before the first parameter or state changes
 * @throws WeightsmithError `training-diverged`
 */
export function takeStep(run: SteppedRun, step: number, onChange: () => void = () => {}): StepOutcome {
  const { config, trainable, batches } = run;
  const { totalSteps } = batches;
  const progress = (step - 1) / totalSteps;
  const recompute = config.gradientCheckpointing === true ? { recompute: trainable.parameters } : {};
  const decoderOf = (pass: number, rows: readonly TokenRow[]) => ({ ...trainable.pass(rows, { name: `${step}/${pass}`, progress }), ...recompute });
  const lr = learningRate({ peak: config.optimizer.lr, totalSteps, ...config.schedule }, step);
  const groups = (config.optimizer.groups ?? []).map(({ match, rate }) => ({ found: new RegExp(match), rate }));
  const rateOf = (name: string) => (trainable.rateOf?.(name, progress) ?? 1) * (groups.find(({ found }) => found.test(name))?.rate ?? 1);
  const outcome = (config.optimizer.rule?.name === "mezo" ? fromLosses : fromGradients)(run, step, { lr, rateOf, decoderOf, onChange });
  return { ...outcome, lr };
}

interface Way {
  readonly lr: number;
  readonly rateOf: (name: string) => number;
  readonly decoderOf: (pass: number, rows: readonly TokenRow[]) => TrainingPass;
  readonly onChange: () => void;
}

function fromGradients(
  { config, trainable, optimizer, batches, table }: SteppedRun,
  step: number,
  { lr, rateOf, decoderOf, onChange }: Way,
): Omit<StepOutcome, "lr"> {
  const { loss, gradients, tokens } = stepGradients(trainable.parameters, batches.ofStep(step), decoderOf, table);
  if (config.optimizer.loraPro === true) changeFactorGradients(trainable, gradients);
  const gradNorm = globalNorm(gradients);
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) throw divergedError(step, loss, gradNorm);
  const gradientScale = config.maxGradNorm > 0 ? Math.min(1, config.maxGradNorm / gradNorm) : 1;
  onChange();
  optimizer.step(gradients, { lr, step, gradientScale, rateOf });
  trainable.afterStep?.(step, clipped(gradients, gradientScale));
  tf.dispose([...gradients.values()]);
  return { loss, gradNorm, tokens };
}

const clipped =
  (gradients: ReadonlyMap<string, tf.Tensor>, scale: number): GradientOf =>
  (name) => {
    const gradient = gradients.get(name);
    return gradient === undefined ? undefined : liveValues(gradient).map((x) => x * scale);
  };

function fromLosses({ config, trainable, batches, table }: SteppedRun, step: number, { lr, rateOf, decoderOf, onChange }: Way): Omit<StepOutcome, "lr"> {
  const { rule, weightDecay } = config.optimizer;
  if (rule?.name !== "mezo") throw new TypeError("the optimiser takes gradients");
  const values = allLiveValues([...trainable.parameters.values()]);
  const parameters = new Map([...trainable.parameters.keys()].map((name, i) => [name, values[i] as Float32Array]));
  const rows = batches.ofStep(step);
  const lossOf = () => {
    const loss = stepLoss(rows, decoderOf, table);
    // The same arrays; a device takes what is written to them next.
    allLiveValues([...trainable.parameters.values()]);
    return loss;
  };
  onChange();
  const { loss, slope } = mezoStep(parameters, lossOf, { ...rule, seed: config.seed, step, lr, weightDecay, rateOf });
  if (!Number.isFinite(loss)) throw divergedError(step, loss, Math.abs(slope));
  trainable.afterStep?.(step);
  return { loss, gradNorm: Math.abs(slope), tokens: rows.flat().reduce((sum, row) => sum + row.tokens.length - row.lossFrom, 0) };
}

function changeFactorGradients({ parameters, factorScale }: Trainable, gradients: ReadonlyMap<string, tf.Tensor>): void {
  for (const { nameA, nameB, pair } of factorPairs(parameters, factorScale ?? 1)) {
    const [gradA, gradB] = [gradients.get(nameA), gradients.get(nameB)];
    if (gradA !== undefined && gradB !== undefined) loraProGradients(pair, liveValues(gradA), liveValues(gradB));
  }
}

function divergedError(step: number, loss: number, gradNorm: number): WeightsmithError {
  return new WeightsmithError(
    {
      code: "training-diverged",
      severity: "error",
      message: `training diverged at step ${step}`,
      found: `loss ${loss}, gradient norm ${gradNorm}`,
      expected: "finite numbers",
      remedy: "lower optimizer.lr, or warm up for longer",
    },
    { exitCode: 1 },
  );
}
