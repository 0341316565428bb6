// How evenly a front is covered, where it bends, and how far two fronts lie apart.
import type { Costs } from "./dominance.ts";
import { solveSystem } from "./least-squares.ts";

/** Every objective scaled so that the front spans 0..1; a constant one becomes 0. */
export function scaleFront(points: readonly Costs[]): number[][] {
  const [first = []] = points;
  const low = first.map((_, i) => Math.min(...points.map((p) => p[i] ?? 0)));
  const span = first.map((_, i) => Math.max(...points.map((p) => p[i] ?? 0)) - (low[i] ?? 0));
  return points.map((p) => p.map((x, i) => ((span[i] ?? 0) > 0 ? (x - (low[i] ?? 0)) / (span[i] ?? 1) : 0)));
}

/** Schott's spacing (1995): the standard deviation of the city-block distances to the nearest neighbour; 0 for an even front. */
export function spacing(points: readonly Costs[]): number | undefined {
  if (points.length < 2) return undefined;
  const nearest = points.map((p, i) => Math.min(...points.flatMap((q, j) => (i === j ? [] : [cityBlock(p, q)]))));
  const mean = nearest.reduce((sum, d) => sum + d, 0) / nearest.length;
  return Math.sqrt(nearest.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (nearest.length - 1));
}

/**
 * Index of the knee: after scaling, the point furthest on the good side of the plane through the best point of each objective
 * (Das 1999). Where those points span no plane, the point nearest to the ideal.
 */
export function kneeOf(points: readonly Costs[]): number | undefined {
  if (points.length === 0) return undefined;
  const scaled = scaleFront(points);
  const normal = planeThroughEnds(scaled);
  const badness = scaled.map((p) => (normal === undefined ? Math.hypot(...p) : p.reduce((sum, x, i) => sum + x * (normal[i] ?? 0), 0)));
  return badness.indexOf(Math.min(...badness));
}

/** n with n.p = 1 on the points that are best in one objective each, all n >= 0; undefined if there is no such plane. */
function planeThroughEnds(points: readonly Costs[]): number[] | undefined {
  const [first = []] = points;
  const ends = first.map((_, i) => points.reduce((best, p) => ((p[i] ?? 0) < (best[i] ?? 0) ? p : best), first));
  const normal = solveSystem(
    ends.map((p) => [...p]),
    ends.map(() => 1),
  );
  return normal?.every((x) => Number.isFinite(x) && x >= 0) ? normal : undefined;
}

/** Mean Euclidean distance from each point to the nearest of `others`: generational distance, and the inverted one with the two exchanged. */
export function generationalDistance(points: readonly Costs[], others: readonly Costs[]): number {
  const distances = points.map((p) => Math.min(...others.map((q) => Math.hypot(...p.map((x, i) => x - (q[i] ?? 0))))));
  return distances.reduce((sum, d) => sum + d, 0) / points.length;
}

const cityBlock = (a: Costs, b: Costs): number => a.reduce((sum, x, i) => sum + Math.abs(x - (b[i] ?? 0)), 0);
