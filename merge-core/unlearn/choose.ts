// Which of several edits of a model to take: the one that forgets most among those that keep what must be kept.
import type { Direction } from "../pareto/front-file.ts";

export interface UnlearnMetrics {
  readonly forget: number;
  readonly retain: number;
  readonly control: number;
}

export interface UnlearnCandidate {
  /** What was done, e.g. `lambda 0.4` or a tensor with a step. */
  readonly label: string;
  readonly recipe: string;
  readonly metrics: UnlearnMetrics;
  /** Retain and control stay above the floor. */
  readonly keeps: boolean;
}

/** What is left of a metric: 1 is all of it, for losses as for scores. */
export function keptShare(before: number, after: number, direction: Direction): number {
  const [part, whole] = direction === "maximize" ? [after, before] : [before, after];
  return whole === 0 ? 1 : part / whole;
}

/** Whether retain and control both keep `floor` of what they were. */
export function keeps(before: UnlearnMetrics, after: UnlearnMetrics, direction: Direction, floor: number): boolean {
  return keptShare(before.retain, after.retain, direction) >= floor && keptShare(before.control, after.control, direction) >= floor;
}

/**
 * The candidate that forgets most of those that keep; of equals the one that retains and controls best, then the first. Where none
 * keeps, the one with the best balance: what is lost of the forgotten less what is lost of the rest.
 */
export function chooseCandidate(before: UnlearnMetrics, candidates: readonly UnlearnCandidate[], direction: Direction): UnlearnCandidate | undefined {
  const kept = (candidate: UnlearnCandidate, key: keyof UnlearnMetrics) => Math.min(1, keptShare(before[key], candidate.metrics[key], direction));
  const rest = (candidate: UnlearnCandidate) => kept(candidate, "retain") + kept(candidate, "control");
  const good = candidates.filter((candidate) => candidate.keeps);
  const better = (a: UnlearnCandidate, b: UnlearnCandidate) =>
    good.length > 0 ? kept(a, "forget") - kept(b, "forget") || rest(b) - rest(a) : kept(a, "forget") - rest(a) / 2 - (kept(b, "forget") - rest(b) / 2);
  return [...(good.length > 0 ? good : candidates)].sort(better)[0];
}
