// Models on a plane. Their changes' inner products follow from norms and cosines; a merge is taken apart into the changes of
// the other models by least squares, which draws how it came about.
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import { mapPoints } from "../../merge-core/analysis/point-map.ts";
import { solveSystem } from "../../merge-core/pareto/least-squares.ts";
import type { Plane, PlanePoint } from "../charts/plane.ts";
import { cosineOf } from "./cosines.ts";
import { modelNames } from "./names.ts";

/** Inner products of the changes (of the weights, without a base); an angle without a value counts as a right one. */
export function gramOf(comparison: Comparison): number[][] {
  const norms = comparison.total.models.map(({ norm, changes }) => (comparison.base === undefined ? norm : (changes?.norm ?? 0)));
  return norms.map((a, i) => norms.map((b, j) => a * b * (i === j ? 1 : cosineOf(comparison, i, j) || 0)));
}

export interface MergePath {
  readonly merge: number;
  readonly parts: readonly number[];
  /** What of each part's change is in the merge, in the order of `parts`. */
  readonly weights: readonly number[];
  /** Share of the merge's change that no sum of the parts' changes gives. */
  readonly rest: number;
}

/** Each merge as a sum of the changes of the models that are no merges; undefined where these do not decide the weights. */
export function mergePath(gram: readonly (readonly number[])[], merge: number, parts: readonly number[]): MergePath | undefined {
  const at = (i: number, j: number) => gram[i]?.[j] ?? 0;
  const weights = solveSystem(
    parts.map((i) => parts.map((j) => at(i, j))),
    parts.map((i) => at(i, merge)),
  );
  if (parts.length === 0 || weights === undefined || !weights.every(Number.isFinite)) return undefined;
  const explained = weights.reduce((sum, w, i) => sum + w * at(parts[i] ?? 0, merge), 0);
  const square = at(merge, merge);
  return { merge, parts, weights, rest: square > 0 ? Math.sqrt(Math.max(0, 1 - explained / square)) : 0 };
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

/** All models, the base at its place, and the way from the base to each merge; of unmerged models the way to their average. */
export function modelPlane(comparison: Comparison, selected: readonly number[] = []): Plane {
  const names = modelNames(comparison.models);
  const gram = gramOf(comparison);
  const hasBase = comparison.base !== undefined;
  const zero = new Array<number>(names.length + 1).fill(0);
  const { points, shown } = mapPoints(hasBase ? [...gram.map((row) => [...row, 0]), zero] : gram);
  const origin = hasBase ? points.at(-1) : undefined;
  const merges = comparison.merges ?? [];
  const models = names.map(
    (name, i): PlanePoint => ({
      name,
      kind: merges.includes(i) ? "merge" : "expert",
      x: points[i]?.[0] ?? 0,
      y: points[i]?.[1] ?? 0,
      ...(selected.includes(i) ? { selected: true } : {}),
    }),
  );
  const base: PlanePoint[] = origin === undefined ? [] : [{ name: "base", kind: "base", x: origin[0], y: origin[1] }];
  const ways = origin === undefined ? [] : waysFrom(origin, points, gram, merges, names);
  return {
    label: `Map of the models by their ${hasBase ? "changes from the base" : "weights"}; the axes show ${percent(shown[0])} and ${percent(shown[1])} of their spread`,
    xTitle: `axis 1 (${percent(shown[0])})`,
    yTitle: `axis 2 (${percent(shown[1])})`,
    points: [...ways.flatMap(({ steps }) => steps), ...base, ...models],
    paths: [
      ...(origin === undefined ? [] : points.slice(0, -1).map((point) => ({ kind: "ray" as const, through: [origin, point] }))),
      ...ways.map(({ through }) => ({ kind: "path" as const, through })),
    ],
  };
}

type Spot = readonly [number, number];

interface Way {
  readonly through: readonly Spot[];
  readonly steps: readonly PlanePoint[];
}

/** The map is affine: base + sum of w_i t_i lies at origin + sum of w_i (point_i - origin). */
function waysFrom(origin: Spot, points: readonly Spot[], gram: readonly (readonly number[])[], merges: readonly number[], names: readonly string[]): Way[] {
  const parts = names.map((_, i) => i).filter((i) => !merges.includes(i));
  const found = merges.flatMap((merge) => mergePath(gram, merge, parts) ?? []);
  if (found.length > 0) return found.map((path) => wayOf(origin, points, path, names));
  return parts.length > 1 ? [averageWay(origin, points, parts)] : [];
}

function wayOf(origin: Spot, points: readonly Spot[], { merge, parts, weights }: MergePath, names: readonly string[]): Way {
  const through: Spot[] = [origin];
  const steps: PlanePoint[] = [];
  parts.forEach((part, i) => {
    const [x, y] = through.at(-1) ?? origin;
    const w = weights[i] ?? 0;
    const next: Spot = [x + w * ((points[part]?.[0] ?? 0) - origin[0]), y + w * ((points[part]?.[1] ?? 0) - origin[1])];
    through.push(next);
    steps.push({ name: `${names[merge]}: after ${w.toFixed(2)} of ${names[part]}`, kind: "step", x: next[0], y: next[1] });
  });
  return { through: [...through, points[merge] ?? origin], steps };
}

const AVERAGE_STEPS = [0.25, 0.5, 0.75, 1];

/** Where a plain average of the models goes as its scale grows from 0 to 1. */
function averageWay(origin: Spot, points: readonly Spot[], parts: readonly number[]): Way {
  const mean = [0, 1].map((axis) => parts.reduce((sum, i) => sum + (points[i]?.[axis] ?? 0), 0) / parts.length);
  const at = (scale: number): Spot => [origin[0] + scale * ((mean[0] ?? 0) - origin[0]), origin[1] + scale * ((mean[1] ?? 0) - origin[1])];
  return {
    through: [origin, at(1)],
    steps: AVERAGE_STEPS.map((scale) => ({ name: `average of all, scaled by ${scale}`, kind: "step" as const, x: at(scale)[0], y: at(scale)[1] })),
  };
}
