// Concrete subspace learning (Tang et al. 2023, 2312.06173): a mask over the weights, shared by all tasks, that hides where task vectors
// disagree. Its elements are relaxed Bernoulli draws (Maddison et al. 2017), so that their logits can be learned from the entropy of the
// masked merge. As in the released code: logits start at 0, temperature 0.5, the mask is divided by its mean per tensor, and one
// draw is kept at the end. Here a mean below 0.01 counts as that, since tiny tensors would blow up.
import { setImmediate } from "node:timers/promises";
import { throwIfCancelled } from "../diagnostics.ts";
import type { TokenRow } from "../nn/data.ts";
import { disposeDecoder } from "../nn/load.ts";
import { uniforms } from "../nn/random.ts";
import { type Adam, createAdam } from "./adam.ts";
import { type AdaMergingOptions, type Adapted, adaMerging, coefficientGradient, coefficientLayout } from "./adamerging.ts";
import { checkLearned } from "./check-learned.ts";
import { entropyGradients, taskBatch } from "./entropy.ts";
import { type Coefficients, combine, decoderOf, type Masks, type TaskVectors } from "./task-vectors.ts";

/** Of the released code. */
const TEMPERATURE = 0.5;
const LEAST_MEAN = 0.01;
/** Of AdaMerging under the kept mask, in the released code. */
const COEFFICIENT_STEPS = 1000;

export interface ConcreteOptions extends AdaMergingOptions {
  /** Steps of learning the mask. Default 2000. */
  readonly maskSteps?: number;
  /** Default 1e-3. */
  readonly maskLr?: number;
  /** Of the inner step on coefficients in Concrete AdaMerging. Default 1, as in the released code. */
  readonly innerLr?: number;
  /** Of the relaxed draws: the nearer to 0, the nearer the mask is to zeros and ones. Default 0.5. */
  readonly temperature?: number;
}

export interface ConcreteResult extends Adapted {
  readonly masks: Masks;
}

/** One tensor's draw: sigmoid((log(u / (1 - u)) + logit) / temperature). */
export interface MaskDraw {
  readonly raw: Float64Array;
  /** What `raw` is divided by. */
  readonly mean: number;
  /** raw / mean. */
  readonly mask: Float64Array;
  readonly temperature: number;
}

/** @param u uniform in (0, 1) */
export function drawMask(logits: Float64Array, u: ArrayLike<number>, temperature = TEMPERATURE): MaskDraw {
  const raw = logits.map((x, i) => 1 / (1 + Math.exp(-(Math.log(u[i] ?? 0.5) - Math.log1p(-(u[i] ?? 0.5)) + x) / temperature)));
  const mean = Math.max(LEAST_MEAN, raw.reduce((sum, m) => sum + m, 0) / raw.length);
  return { raw, mean, mask: raw.map((m) => m / mean), temperature };
}

/** The gradient of the logits from that of the mask: through the division by the mean, and the sigmoid. */
export function logitGradient({ raw, mean, temperature }: MaskDraw, gradient: Float64Array): Float64Array {
  let shared = 0;
  for (let i = 0; i < raw.length; i++) shared += (gradient[i] as number) * (raw[i] as number);
  // A mean that was held at its least does not move.
  const pull = mean > LEAST_MEAN ? shared / (raw.length * mean * mean) : 0;
  return raw.map((m, i) => (((gradient[i] as number) / mean - pull) * m * (1 - m)) / temperature);
}

/** Concrete task arithmetic: all coefficients stay at `init`. */
export async function concreteTaskArithmetic(
  vectors: TaskVectors,
  data: readonly (readonly TokenRow[])[],
  options: ConcreteOptions = {},
): Promise<ConcreteResult> {
  const fixed = vectors.tasks.map(() => vectors.names.map(() => options.init ?? 0.3));
  const { masks, losses } = await learnMask(vectors, data, options, () => fixed);
  return { coefficients: fixed, masks, losses };
}

/**
 * Concrete AdaMerging, first order: in each step coefficients start anew, take one Adam step with the mask held, and the mask then learns
 * with these coefficients held. Afterwards one mask is kept and ordinary AdaMerging runs under it.
 */
export async function concreteAdaMerging(vectors: TaskVectors, data: readonly (readonly TokenRow[])[], options: ConcreteOptions = {}): Promise<ConcreteResult> {
  const { init = 0.3, batchSize = 16, seed = 0 } = options;
  const layout = coefficientLayout(vectors, options.per ?? "layer");
  // Its moments live on although the coefficients start anew, as in the released code.
  const adam = createAdam(layout.size, options.innerLr ?? 1);
  const inner = (masks: Masks, step: number): Coefficients => {
    const values = new Float64Array(layout.size).fill(init);
    const batches = data.map((rows, task) => taskBatch(rows, batchSize, seed + 1, task, step));
    adam.step(values, coefficientGradient(vectors, layout, values, batches, masks).gradient);
    return layout.spread(values);
  };
  const { masks, losses } = await learnMask(vectors, data, options, inner, adam);
  const adapted = await adaMerging(vectors, data, { ...options, steps: options.steps ?? COEFFICIENT_STEPS }, masks);
  return { coefficients: adapted.coefficients, masks, losses: [...losses, ...adapted.losses] };
}

async function learnMask(
  vectors: TaskVectors,
  data: readonly (readonly TokenRow[])[],
  options: ConcreteOptions,
  coefficientsFor: (masks: Masks, step: number) => Coefficients,
  inner?: Adam,
): Promise<{ masks: Masks; losses: number[] }> {
  const { maskSteps = 2000, maskLr = 1e-3, temperature, batchSize = 16, seed = 0, journal, signal } = options;
  const logits = vectors.origin.map(({ length }) => new Float64Array(length));
  const adams = logits.map(({ length }) => createAdam(length, maskLr));
  const draw = (step: number) =>
    logits.map((own, tensor) => drawMask(own, openUniforms(seed, `concrete/${step}/${vectors.names[tensor]}`, own.length), temperature));
  const all = inner === undefined ? adams : [...adams, inner];
  const state = [...logits, ...all.flatMap(({ moments }) => moments)];
  const before = await journal?.resume("mask", state);
  for (const adam of all) adam.steps = before?.step ?? 0;
  const losses = [...(before?.losses ?? [])];
  for (let step = before?.step ?? 0; step < maskSteps; step++) {
    await setImmediate();
    throwIfCancelled(signal);
    const draws = draw(step);
    const masks = draws.map(({ mask }) => mask);
    const coefficients = coefficientsFor(masks, step);
    const batches = data.map((rows, task) => taskBatch(rows, batchSize, seed, task, step));
    const { loss, gradients } = maskGradients(vectors, coefficients, draws, batches);
    for (const [tensor, gradient] of gradients.entries()) adams[tensor]?.step(logits[tensor] as Float64Array, gradient);
    checkLearned(step + 1, loss, logits);
    losses.push(loss);
    options.onStep?.(step + 1, maskSteps, loss);
    await journal?.save("mask", { step: step + 1, losses }, () => state, step + 1 === maskSteps || signal?.aborted === true);
  }
  return { masks: draw(maskSteps).map(({ mask }) => mask), losses };
}

/** Entropy of the masked merge, and its gradient with respect to the masks' logits. */
export function maskGradients(
  vectors: TaskVectors,
  coefficients: Coefficients,
  draws: readonly MaskDraw[],
  batches: readonly (readonly TokenRow[])[],
): { loss: number; gradients: Float64Array[] } {
  const masks = draws.map(({ mask }) => mask);
  const decoder = decoderOf(vectors, combine(vectors, coefficients, masks));
  try {
    const { loss, gradients } = entropyGradients(decoder, batches);
    const ofMasks = gradients.map((gradient, tensor) => {
      const sum = new Float64Array(gradient.length);
      for (const [task, parts] of vectors.vectors.entries()) {
        const [factor, part] = [coefficients[task]?.[tensor] ?? 0, parts[tensor] as Float32Array];
        for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + factor * (part[i] as number) * (gradient[i] as number);
      }
      return sum;
    });
    return { loss, gradients: ofMasks.map((gradient, tensor) => logitGradient(draws[tensor] as MaskDraw, gradient)) };
  } finally {
    disposeDecoder(decoder);
  }
}

/** Uniform numbers that are never 0. */
const openUniforms = (seed: number, stream: string, count: number): Float64Array => uniforms(seed, stream, count).map((u) => Math.max(u, 2 ** -33));
