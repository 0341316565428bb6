// Sums -> measures. All norms, distances and angles follow from inner products: with a base b and changes t_i the weights are
// b + t_i, so that products of weights are sums of products of b and t_i without cancellation.
import type { ChangeMeasures, Measure, Measures, ModelMeasures, PairMeasures } from "./comparison.ts";
import { magnitudeQuantile } from "./magnitude-counts.ts";
import { type ModelSums, type PairSums, pairsOf, type Sums } from "./sums.ts";

/** Measures of a group of tensors from their sums. */
export function measuresOf(sums: Sums, hasBase: boolean): Measures {
  const geometry = new Geometry(sums.gram, hasBase);
  const pairs = pairsOf(sums.models.length).map(([a, b], i) => pairMeasures(geometry, sums, a, b, sums.pairs[i] as PairSums));
  const shared = { elements: sums.elements, models: sums.models.map((model, i) => modelMeasures(geometry, sums, model, i)), pairs };
  if (!hasBase) return shared;
  const pooled = (of: (pair: PairSums) => number) => sums.pairs.reduce((sum, pair) => sum + of(pair), 0);
  return {
    ...shared,
    signAgreement: ratio(sums.agreement, sums.elements),
    signCounts: sums.signCounts,
    conflict: ratio(
      pooled((pair) => pair.opposite),
      pooled((pair) => pair.both),
    ),
  };
}

/** Angles and lengths of weights and changes. */
class Geometry {
  readonly hasBase: boolean;
  readonly #gram: Sums["gram"];

  constructor(gram: Sums["gram"], hasBase: boolean) {
    this.#gram = gram;
    this.hasBase = hasBase;
  }

  /** Inner product of sums of spanning vectors, each given by the indices of its terms. */
  dot(a: readonly number[], b: readonly number[]): number {
    return a.reduce((sum, i) => sum + b.reduce((inner, j) => inner + (this.#gram[i]?.[j] ?? Number.NaN), 0), 0);
  }

  norm(a: readonly number[]): number {
    return Math.sqrt(Math.max(0, this.dot(a, a)));
  }

  cosine(a: readonly number[], b: readonly number[]): Measure {
    const cosine = ratio(this.dot(a, b), Math.sqrt(this.dot(a, a) * this.dot(b, b)));
    return cosine === null ? null : Math.min(1, Math.max(-1, cosine));
  }

  /** Indices of the terms of a model's weights, of its change, and of the base. */
  weights = (model: number): number[] => (this.hasBase ? [0, 1 + model] : [model]);
  change = (model: number): number[] => [1 + model];
  base = [0];

  distance(a: number, b: number): number {
    const [x, y] = this.hasBase ? [this.change(a), this.change(b)] : [this.weights(a), this.weights(b)];
    return Math.sqrt(Math.max(0, this.dot(x, x) - 2 * this.dot(x, y) + this.dot(y, y)));
  }
}

function modelMeasures(geometry: Geometry, sums: Sums, model: ModelSums, index: number): ModelMeasures {
  const weights = geometry.weights(index);
  const norm = geometry.norm(weights);
  if (!geometry.hasBase) return { norm, cosineToBase: null };
  return { norm, cosineToBase: geometry.cosine(geometry.base, weights), changes: changeMeasures(geometry, sums, model, index) };
}

function changeMeasures(geometry: Geometry, { elements }: Sums, model: ModelSums, index: number): ChangeMeasures {
  const norm = geometry.norm(geometry.change(index));
  const quantile = (q: number) => Math.min(model.largest, magnitudeQuantile(model.magnitudes, q));
  return {
    norm,
    relativeNorm: ratio(norm, geometry.norm(geometry.base)),
    density: ratio(model.nonZero, elements),
    quantiles: { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99), max: model.largest },
    keptNorm: ratio(Math.sqrt(model.keptEnergy), norm),
    droppedBySign: ratio(model.kept - model.elected, model.kept),
    droppedEnergy: ratio(model.keptEnergy - model.electedEnergy, model.keptEnergy),
  };
}

function pairMeasures(geometry: Geometry, sums: Sums, a: number, b: number, pair: PairSums): PairMeasures {
  const [wa, wb] = [geometry.weights(a), geometry.weights(b)];
  const shared = { a, b, cosine: geometry.cosine(wa, wb), l2: geometry.distance(a, b), normRatio: ratio(geometry.norm(wa), geometry.norm(wb)) };
  if (!geometry.hasBase) return shared;
  const [ta, tb] = [geometry.change(a), geometry.change(b)];
  const [ma, mb] = [sums.models[a] as ModelSums, sums.models[b] as ModelSums];
  return {
    ...shared,
    changes: {
      cosine: geometry.cosine(ta, tb),
      normRatio: ratio(geometry.norm(ta), geometry.norm(tb)),
      conflict: ratio(pair.opposite, pair.both),
      support: ratio(pair.both, ma.nonZero + mb.nonZero - pair.both),
      topOverlap: ratio(pair.keptBoth, ma.kept + mb.kept - pair.keptBoth),
      topConflict: ratio(pair.keptOpposite, pair.keptBoth),
    },
  };
}

/** a / b, null where b is 0. */
const ratio = (a: number, b: number): Measure => (b === 0 ? null : a / b);
