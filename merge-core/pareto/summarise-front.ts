// From measured points to what pareto.json says of them together.
import { asCosts, type Costs, nonDominated } from "./dominance.ts";
import type { Direction, FrontFile, FrontPoint } from "./front-file.ts";
import { kneeOf, scaleFront, spacing } from "./front-measures.ts";
import { hypervolume } from "./hypervolume.ts";

/** How far beyond the worst measured value the reference lies, as a share of the values' span. */
const REFERENCE_MARGIN = 0.01;

type Summary = Pick<FrontFile, "points" | "hypervolume" | "reference" | "spacing" | "knee">;

/** Marks the front among settings of the coefficients, and measures it. @param reference in the objectives' own units; default a little beyond the worst setting */
export function summariseFront(points: readonly FrontPoint[], directions: readonly Direction[], reference?: readonly number[]): Summary {
  const settings = points.filter(isMeasuredSetting);
  const costs = settings.map((point) => costsOf(point, directions));
  const front = nonDominated(costs);
  const onFront = new Set(front.map((i) => settings[i]?.id));
  const corner = reference === undefined ? worstCorner(costs, directions.length) : asCosts(reference, directions);
  const frontCosts = front.map((i) => costs[i] ?? []);
  const knee = kneeOf(frontCosts);
  return {
    points: points.map((point) => ({ ...point, onFront: onFront.has(point.id) })),
    hypervolume: hypervolume(frontCosts, corner),
    // Negation makes minus zeros.
    reference: asCosts(corner, directions).map((x) => x + 0),
    spacing: spacing(scaleFront(frontCosts)) ?? null,
    knee: knee === undefined ? null : (settings[front[knee] ?? -1]?.id ?? null),
  };
}

const isMeasuredSetting = (point: FrontPoint): boolean => point.evaluated && point.coefficients !== undefined;

export function costsOf({ values }: FrontPoint, directions: readonly Direction[]): number[] {
  return asCosts(
    values.map((value) => value ?? Number.NaN),
    directions,
  );
}

function worstCorner(costs: readonly Costs[], objectives: number): number[] {
  return Array.from({ length: objectives }, (_, i) => {
    const column = costs.map((point) => point[i] ?? 0);
    const [low, high] = column.length === 0 ? [0, 0] : [Math.min(...column), Math.max(...column)];
    return high + REFERENCE_MARGIN * (high - low || Math.abs(high) || 1);
  });
}

/**
 * The point of the front that serves a preference best: goodness scaled to 0..1 over the front, times the preference as a unit vector
 * (Li et al. 2024). Of equals the more even one.
 */
export function pickPoint(file: FrontFile, preference: readonly number[]): FrontPoint | undefined {
  const directions = file.objectives.map(({ direction }) => direction);
  const front = file.points.filter(({ onFront }) => onFront);
  const good = scaleFront(front.map((point) => costsOf(point, directions))).map((point) => point.map((x) => 1 - x));
  const worth = good.map((point) => point.reduce((sum, x, i) => sum + x * (preference[i] ?? 0), 0) + 1e-9 * Math.min(...point));
  return front[worth.indexOf(Math.max(...worth))];
}
