// SLUG, single layer unlearning by gradient (Cai et al., ICML 2025): one gradient of the loss on what to forget, one on what to keep; the tensors that
// matter to the first and are not aligned with the second; then a search for the step along the first gradient in one such tensor alone.
// The step raises the loss on what is forgotten, as the authors' code has it; their text reads as the opposite.
import { nonDominated } from "../pareto/dominance.ts";

export interface LayerScore {
  readonly name: string;
  /** Norm of the gradient to forget over the norm of the weights. */
  readonly importance: number;
  /** |cosine| of the gradients to forget and to keep. */
  readonly alignment: number;
  /** Norm of the weights over the norm of the gradient: the step that would change the tensor by its own size. */
  readonly unitStep: number;
}

/** Tensors that hold no layer's weights: embeddings and biases stay. */
const EXCLUDED = /\.bias$|embed|wte|wpe|position/;

type Tensors = ReadonlyMap<string, ArrayLike<number>>;

/** Scores of all tensors that may be edited; those without a gradient or without weights have none. */
export function scoreLayers(weights: Tensors, forget: Tensors, keep: Tensors): LayerScore[] {
  return [...weights].flatMap(([name, values]): LayerScore[] => {
    const [f, k] = [forget.get(name), keep.get(name)];
    if (EXCLUDED.test(name) || f === undefined || k === undefined) return [];
    const [size, slope, other] = [norm(values), norm(f), norm(k)];
    if (size === 0 || slope === 0) return [];
    const alignment = other === 0 ? 0 : Math.abs(dot(f, k)) / (slope * other);
    return [{ name, importance: slope / size, alignment, unitStep: size / slope }];
  });
}

/** Of high importance and low alignment, the tensors that no other beats in both; the most important first. */
export function candidateLayers(scores: readonly LayerScore[]): LayerScore[] {
  return nonDominated(scores.map(({ importance, alignment }) => [-importance, alignment]))
    .flatMap((i) => scores[i] ?? [])
    .sort((a, b) => b.importance - a.importance);
}

/**
 * Looks for the smallest step that forgets: from a tenth of the tensor's size, doubling until it does, then halving the interval.
 * @param tryStep whether the step forgets enough
 */
export async function searchStep(unitStep: number, tries: number, tryStep: (step: number) => Promise<boolean>): Promise<void> {
  let [low, high] = [0, Number.POSITIVE_INFINITY];
  let step = unitStep / 10;
  for (let i = 0; i < tries; i++) {
    if (await tryStep(step)) high = step;
    else low = step;
    step = high === Number.POSITIVE_INFINITY ? low * 2 : (low + high) / 2;
  }
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));
