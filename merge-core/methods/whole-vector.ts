// Thresholds of magnitude over all tensors of a model together, as papers trim a task vector: the k-th largest element of the
// whole, found by two rounds of histograms. Elements as large as it all stay, as in the authors' code.
import type { Expr, MagnitudeSelection } from "../compute/expr.ts";
import { KEEP_NONE, keyToValue } from "../compute/reference.ts";
import type { MergeTask, ModelStatistic, ParameterSpec } from "./method.ts";
import { flagOf } from "./parameters.ts";

export const WHOLE_VECTOR: ParameterSpec = {
  name: "whole_vector",
  scope: "global",
  type: "flag",
  default: 0,
  doc: "Trim over all tensors together, as the paper does, instead of each by itself. Reads the models twice more.",
};

/** One threshold: how many elements of this tensor would lie above it if all tensors were alike. */
export interface Target {
  /** Tells the thresholds of a recipe apart. */
  readonly key: string;
  readonly x: Expr;
  readonly keep: number;
}

/** The thresholds that `targets` names; tensors without the flag, or without targets, take no part. */
export function wholeVectorThresholds(targets: (task: MergeTask, size: number) => readonly Target[]): ModelStatistic {
  const targetsOf: typeof targets = (task, size) => (flagOf(task, WHOLE_VECTOR.name) ? targets(task, size) : []);
  return {
    rounds: 2,
    applies: (task, size) => targetsOf(task, size).length > 0,
    async gather(task, engine, known) {
      const wanted = targetsOf(task, engine.size);
      const xs = wanted.map(({ x }) => x);
      const bins = wanted.map(({ key }) => known[binKey(key)]).filter((bin) => bin !== undefined);
      const counts = await (bins.length === 0 ? engine.magnitudeCounts(xs) : engine.magnitudeCounts(xs, bins));
      const keeps = wanted.map(({ key, keep }) => [`${key} keep`, Float64Array.of(keep)] as const);
      return new Map([...wanted.map(({ key }, i) => [key, counts[i] as Float64Array] as const), ...keeps]);
    },
    conclude(sums, known) {
      const found: Record<string, number> = { ...known };
      for (const [key, counts] of sums) {
        const keep = sums.get(`${key} keep`)?.[0];
        if (keep === undefined) continue;
        const bin = known[binKey(key)];
        const place = fromTop(counts, bin === undefined ? keep : (known[rankKey(key)] ?? 0));
        if (bin === undefined) Object.assign(found, { [binKey(key)]: place.index, [rankKey(key)]: place.rank });
        else found[key] = keep < 1 ? Number.NaN : keyToValue(bin * 2 ** 16 + place.index);
      }
      return found;
    },
  };
}

const binKey = (key: string): string => `${key} bin`;
const rankKey = (key: string): string => `${key} rank`;

/** The bin that holds the element of this rank from the top, and its rank there. */
function fromTop(counts: Float64Array, rank: number): { index: number; rank: number } {
  let left = Math.max(1, rank);
  for (let index = counts.length - 1; index > 0; index--) {
    const count = counts[index] as number;
    if (count >= left) return { index, rank: left };
    left -= count;
  }
  return { index: 0, rank: left };
}

/** The selection by a threshold that was found; undefined where the tensor takes no part. */
export function wholeSelection(task: MergeTask, key: string): MagnitudeSelection | undefined {
  const threshold = flagOf(task, WHOLE_VECTOR.name) ? task.statistics?.[key] : undefined;
  if (threshold === undefined) return undefined;
  return Number.isNaN(threshold) ? KEEP_NONE : { threshold, tieLimit: Number.POSITIVE_INFINITY };
}
