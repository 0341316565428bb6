// What one pass over the tensors gathers for a comparison: only sums, counts and maxima, so that tensors add up to layers,
// roles and the whole exactly.
import { addCounts, type MagnitudeCounts, NO_COUNTS } from "./magnitude-counts.ts";

/** Of one model's vector: its change from the base, or without a base its weights. */
export interface ModelSums {
  readonly nonZero: number;
  readonly largest: number;
  readonly magnitudes: MagnitudeCounts;
  /** Elements and energy (sum of squares) that a trim at the asked density keeps. */
  readonly kept: number;
  readonly keptEnergy: number;
  /** Of those, what agrees with the elected sign. */
  readonly elected: number;
  readonly electedEnergy: number;
}

export interface PairSums {
  /** Elements that neither vector has zero, and those of them with opposite signs. */
  readonly both: number;
  readonly opposite: number;
  /** The same after the trim. */
  readonly keptBoth: number;
  readonly keptOpposite: number;
}

export interface Sums {
  readonly elements: number;
  /** Inner products of all pairs of: the base's weights, if there is a base, then the models' vectors. */
  readonly gram: readonly (readonly number[])[];
  readonly models: readonly ModelSums[];
  /** In the order of `pairsOf`. */
  readonly pairs: readonly PairSums[];
  /** Sum over elements of |positive - negative| / (positive + negative), 1 where all are zero. */
  readonly agreement: number;
  /** Elements by positive minus negative vectors, from minus the number of models to plus it. */
  readonly signCounts: readonly number[];
}

/** All pairs (i, j), i < j, in the order 01, 02, ..., 12, ... */
export function pairsOf(count: number): [number, number][] {
  return Array.from({ length: count }, (_, i) => Array.from({ length: count - i - 1 }, (_, k): [number, number] => [i, i + 1 + k])).flat();
}

/** Sums of nothing. */
export function noSums(models: number, vectors: number): Sums {
  const model: ModelSums = { nonZero: 0, largest: 0, magnitudes: NO_COUNTS, kept: 0, keptEnergy: 0, elected: 0, electedEnergy: 0 };
  const pair: PairSums = { both: 0, opposite: 0, keptBoth: 0, keptOpposite: 0 };
  return {
    elements: 0,
    gram: Array.from({ length: vectors }, () => new Array<number>(vectors).fill(0)),
    models: new Array<ModelSums>(models).fill(model),
    pairs: pairsOf(models).map(() => pair),
    agreement: 0,
    signCounts: new Array<number>(2 * models + 1).fill(0),
  };
}

export function addSums(a: Sums, b: Sums): Sums {
  return {
    elements: a.elements + b.elements,
    gram: a.gram.map((row, i) => row.map((value, j) => value + (b.gram[i]?.[j] ?? 0))),
    models: a.models.map((model, i) => addModels(model, b.models[i] as ModelSums)),
    pairs: a.pairs.map((pair, i) => addPairs(pair, b.pairs[i] as PairSums)),
    agreement: a.agreement + b.agreement,
    signCounts: a.signCounts.map((count, i) => count + (b.signCounts[i] ?? 0)),
  };
}

function addModels(a: ModelSums, b: ModelSums): ModelSums {
  return {
    nonZero: a.nonZero + b.nonZero,
    largest: Math.max(a.largest, b.largest),
    magnitudes: addCounts(a.magnitudes, b.magnitudes),
    kept: a.kept + b.kept,
    keptEnergy: a.keptEnergy + b.keptEnergy,
    elected: a.elected + b.elected,
    electedEnergy: a.electedEnergy + b.electedEnergy,
  };
}

function addPairs(a: PairSums, b: PairSums): PairSums {
  return { both: a.both + b.both, opposite: a.opposite + b.opposite, keptBoth: a.keptBoth + b.keptBoth, keptOpposite: a.keptOpposite + b.keptOpposite };
}
