// MAP: amortised Pareto fronts (Li et al. 2024, 2406.07529). Measure some settings of the coefficients, fit a quadratic to each objective, search
// the quadratics for trade-offs, and measure what they propose. The search keeps to the box that the samples fill: quadratics say nothing beyond it.

import { WeightsmithError } from "../diagnostics.ts";
import { asCosts, type Costs } from "./dominance.ts";
import type { Direction } from "./front-file.ts";
import { scaleFront } from "./front-measures.ts";
import type { Box } from "./map-samples.ts";
import { mapSamples } from "./map-samples.ts";
import { nsga3 } from "./nsga3.ts";
import { fitSurrogate, type Link, predict, type Surrogate, surrogateError } from "./surrogate.ts";

/** A setting of the coefficients with what was measured there. */
export interface Measured {
  readonly x: readonly number[];
  readonly values: readonly number[];
}

export interface MapProblem {
  readonly box: Box;
  readonly directions: readonly Direction[];
  readonly links: readonly Link[];
  /** Measures the objectives, or those listed, at each point; undefined where that failed. */
  readonly measure: (points: readonly (readonly number[])[], how: MeasureHow) => Promise<readonly (readonly number[] | undefined)[]>;
}

export interface MeasureHow {
  readonly kind: "sample" | "front";
  readonly predicted?: readonly (readonly number[])[];
  /** Indices of the objectives to measure; default all. */
  readonly objectives?: readonly number[];
}

export interface MapSettings {
  /** Measurements that the surrogates are fitted to. */
  readonly samples: number;
  /** Points of the predicted front that are measured. */
  readonly front: number;
  readonly seed: number;
}

export interface MapOutcome {
  readonly surrogates: readonly FittedSurrogate[];
  /** The proposals that could be measured. */
  readonly front: readonly Measured[];
}

export interface FittedSurrogate extends Surrogate {
  readonly fitError: number;
  readonly frontError: number | undefined;
  readonly points: number;
}

/** Plain MAP. */
export async function runMap(problem: MapProblem, settings: MapSettings): Promise<MapOutcome> {
  const points = mapSamples(problem.box, settings.samples, settings.seed);
  return finishMap(problem, settings, await measureAll(problem, points, { kind: "sample" }));
}

/** Fits to samples, searches, and measures what is proposed. */
export async function finishMap(problem: MapProblem, settings: MapSettings, samples: readonly Measured[]): Promise<MapOutcome> {
  const surrogates = fitAll(problem.links, samples);
  const proposals = propose(problem, surrogates, settings);
  const predicted = proposals.map((x) => surrogates.map((surrogate) => predict(surrogate, x)));
  const front = await measureSome(problem, proposals, { kind: "front", predicted });
  return { surrogates: surrogates.map((surrogate, i) => withErrors(surrogate, i, samples, front)), front };
}

/** The points at which measuring worked. */
export async function measureSome(problem: MapProblem, points: readonly (readonly number[])[], how: MeasureHow): Promise<Measured[]> {
  const all = await problem.measure(points, how);
  return points.flatMap((x, i) => {
    const values = all[i];
    return values === undefined ? [] : [{ x, values }];
  });
}

/** The same where a search cannot go on without any. @throws WeightsmithError `search-nothing-measured` */
export async function measureAll(problem: MapProblem, points: readonly (readonly number[])[], how: MeasureHow): Promise<Measured[]> {
  const measured = await measureSome(problem, points, how);
  if (measured.length > 0 || points.length === 0) return measured;
  throw nothingMeasured(points.length);
}

/** @param reasons why they failed @param remedy where to read more */
export function nothingMeasured(trials: number, { remedy, reasons = [] }: { remedy?: string; reasons?: Iterable<string> } = {}): WeightsmithError {
  const found = `${trials} failed trials`;
  const message = "not one of the trials could be measured";
  const notes = [...reasons].slice(0, MOST_REASONS);
  return new WeightsmithError(
    { code: "search-nothing-measured", severity: "error", message, found, ...(remedy === undefined ? {} : { remedy }), notes },
    { exitCode: 1 },
  );
}

const MOST_REASONS = 5;

/** One surrogate for each objective. */
export function fitAll(links: readonly Link[], samples: readonly Measured[]): Surrogate[] {
  return links.map((link, i) => {
    const values = samples.map((sample) => sample.values[i] ?? Number.NaN);
    return fitSurrogate(
      samples.map(({ x }) => x),
      values,
      link,
    );
  });
}

/** Settings that trade off the surrogates, spread over their front. */
export function propose({ box, directions }: MapProblem, surrogates: readonly Surrogate[], { front, seed }: MapSettings): (readonly number[])[] {
  const costsOf = (x: readonly number[]) =>
    asCosts(
      surrogates.map((surrogate) => predict(surrogate, x)),
      directions,
    );
  const found = nsga3(costsOf, { ...box, seed });
  return spread(
    found.map(({ costs }) => costs),
    front,
  ).map((i) => found[i]?.x ?? []);
}

/** Indices of up to `count` points: the best of each objective, then always the one furthest from those taken. */
export function spread(points: readonly Costs[], count: number): number[] {
  const scaled = scaleFront(points);
  const best = (scaled[0] ?? []).map((_, axis) => scaled.reduce((b, p, i) => ((p[axis] ?? 0) < (scaled[b]?.[axis] ?? 0) ? i : b), 0));
  const taken = [...new Set(best)].slice(0, count);
  const distances = scaled.map((p) => Math.min(...taken.map((t) => distance(p, scaled[t] ?? []))));
  while (taken.length < Math.min(count, points.length)) {
    const far = distances.indexOf(Math.max(...distances));
    taken.push(far);
    for (const [i, p] of scaled.entries()) distances[i] = taken.includes(i) ? -1 : Math.min(distances[i] ?? 0, distance(p, scaled[far] ?? []));
  }
  return taken;
}

const distance = (a: Costs, b: Costs): number => Math.hypot(...a.map((x, i) => x - (b[i] ?? 0)));

function withErrors(surrogate: Surrogate, objective: number, samples: readonly Measured[], front: readonly Measured[]): FittedSurrogate {
  const errorOver = (points: readonly Measured[]) =>
    surrogateError(
      surrogate,
      points.map(({ x }) => x),
      points.map(({ values }) => values[objective] ?? Number.NaN),
    );
  return { ...surrogate, fitError: errorOver(samples), frontError: front.length === 0 ? undefined : errorOver(front), points: samples.length };
}
