// AdaMerging (Yang et al., ICLR 2024, 2310.02575): coefficients of task vectors, one per task or one per task and tensor, that minimise the
// entropy of the merged model's predictions on unlabelled data of all tasks. The gradient of a coefficient is the inner product of the
// merged weights' gradient with the task vector, so no merge has to be differentiated. Coefficients are not clamped, as in FusionBench;
// on request they are held in [0, 1] in the forward pass, as in the authors' code. For language models entropy is that of the next token behind the prompt.
import { setImmediate } from "node:timers/promises";
import { throwIfCancelled } from "../diagnostics.ts";
import type { TokenRow } from "../nn/data.ts";
import { disposeDecoder } from "../nn/load.ts";
import type { StepJournal } from "../train/step-journal.ts";
import { createAdam } from "./adam.ts";
import { checkLearned } from "./check-learned.ts";
import { entropyGradients, taskBatch } from "./entropy.ts";
import { type Coefficients, combine, decoderOf, type Masks, type TaskVectors } from "./task-vectors.ts";

export interface AdaMergingOptions {
  /** Default `layer`: a coefficient for every tensor of every task. */
  readonly per?: "task" | "layer";
  /** Default 500. */
  readonly steps?: number;
  /** Default 1e-3. */
  readonly lr?: number;
  /** First value of every coefficient. Default 0.3. */
  readonly init?: number;
  /** Holds coefficients in [0, 1] where they are used, as the authors do; one that is outside gets no gradient. Default false. */
  readonly clamp?: boolean;
  /** Rows of each task in a step. Default 16. */
  readonly batchSize?: number;
  readonly seed?: number;
  readonly signal?: AbortSignal;
  /** Remembers what was learned, so that a run goes on where it was killed. */
  readonly journal?: StepJournal;
  /** `loss` is the entropy summed over tasks. */
  readonly onStep?: (step: number, steps: number, loss: number) => void;
}

export interface Adapted {
  readonly coefficients: Coefficients;
  /** Entropy summed over tasks, step by step. */
  readonly losses: readonly number[];
}

/** @param data rows of each task, in any number and order of tasks */
export async function adaMerging(
  vectors: TaskVectors,
  data: readonly (readonly TokenRow[])[],
  options: AdaMergingOptions = {},
  masks?: Masks,
): Promise<Adapted> {
  const { per = "layer", steps = 500, lr = 1e-3, init = 0.3, clamp = false, batchSize = 16, seed = 0, journal, signal } = options;
  const layout = coefficientLayout(vectors, per);
  const used = clamp ? (all: Float64Array) => all.map((value) => Math.min(1, Math.max(0, value))) : (all: Float64Array) => all;
  const values = new Float64Array(layout.size).fill(init);
  const adam = createAdam(layout.size, lr);
  const state = [values, ...adam.moments];
  const before = await journal?.resume("coefficients", state);
  adam.steps = before?.step ?? 0;
  const losses = [...(before?.losses ?? [])];
  for (let step = adam.steps; step < steps; step++) {
    await setImmediate();
    throwIfCancelled(signal);
    const batches = data.map((rows, task) => taskBatch(rows, batchSize, seed, task, step));
    const { loss, gradient } = coefficientGradient(vectors, layout, used(values), batches, masks);
    adam.step(values, clamp ? gradient.map((g, i) => (isInside(values[i] ?? 0) ? g : 0)) : gradient);
    checkLearned(step + 1, loss, [values]);
    losses.push(loss);
    options.onStep?.(step + 1, steps, loss);
    await journal?.save("coefficients", { step: step + 1, losses }, () => state, step + 1 === steps || signal?.aborted === true);
  }
  return { coefficients: layout.spread(used(values)), losses };
}

const isInside = (value: number): boolean => value >= 0 && value <= 1;

/** How a list of learned numbers stands for coefficients by task and tensor. */
export interface CoefficientLayout {
  readonly size: number;
  spread(values: ArrayLike<number>): number[][];
  /** The transpose of `spread`: adds up what belongs to one number. */
  gather(gradient: Coefficients): Float64Array;
}

export function coefficientLayout({ tasks, names }: TaskVectors, per: "task" | "layer"): CoefficientLayout {
  const tensors = names.length;
  const place = (task: number, tensor: number) => (per === "task" ? task : task * tensors + tensor);
  const size = per === "task" ? tasks.length : tasks.length * tensors;
  return {
    size,
    spread: (values) => tasks.map((_, task) => names.map((_name, tensor) => values[place(task, tensor)] ?? 0)),
    gather(gradient) {
      const sum = new Float64Array(size);
      for (const [task, own] of gradient.entries()) {
        for (const [tensor, value] of own.entries()) sum[place(task, tensor)] = (sum[place(task, tensor)] ?? 0) + value;
      }
      return sum;
    },
  };
}

/** Entropy of the merge with these coefficients, and its gradient with respect to them. */
export function coefficientGradient(
  vectors: TaskVectors,
  layout: CoefficientLayout,
  values: ArrayLike<number>,
  batches: readonly (readonly TokenRow[])[],
  masks?: Masks,
): { loss: number; gradient: Float64Array } {
  const decoder = decoderOf(vectors, combine(vectors, layout.spread(values), masks));
  try {
    const { loss, gradients } = entropyGradients(decoder, batches);
    const products = vectors.vectors.map((parts) => parts.map((part, tensor) => inner(part, gradients[tensor] as Float64Array, masks?.[tensor])));
    return { loss, gradient: layout.gather(products) };
  } finally {
    disposeDecoder(decoder);
  }
}

function inner(vector: Float32Array, gradient: Float64Array, mask: Float64Array | undefined): number {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += (vector[i] as number) * (gradient[i] as number) * (mask?.[i] ?? 1);
  return sum;
}
