// Exact hypervolume: the size of the region that a front dominates inside a box. Two objectives by sweeping, more by the
// exclusive volumes of While, Bradstreet and Barone (2012, "A fast way of calculating exact hypervolumes").
import { type Costs, nonDominated } from "./dominance.ts";

/**
 * Volume between `points` (minimised, in any order, dominated ones allowed) and `reference`. A point that is not better than
 * the reference in every objective adds nothing.
 */
export function hypervolume(points: readonly Costs[], reference: Costs): number {
  const inside = points.filter((point) => point.every((x, i) => x < (reference[i] ?? Number.NaN)));
  return volumeOf(front(inside), reference);
}

const front = (points: readonly Costs[]): Costs[] => nonDominated(points).map((i) => points[i] ?? []);

function volumeOf(points: readonly Costs[], reference: Costs): number {
  if (points.length === 0) return 0;
  if (reference.length === 1) return (reference[0] ?? 0) - Math.min(...points.map(([x = 0]) => x));
  if (reference.length === 2) return sweep(points, reference);
  // Worst first in the last objective: then limiting the others to a point leaves few of them apart.
  const last = reference.length - 1;
  const sorted = [...points].sort((a, b) => (b[last] ?? 0) - (a[last] ?? 0));
  return sorted.reduce((sum, point, i) => sum + exclusive(point, sorted.slice(i + 1), reference), 0);
}

/** What `point` dominates and none of `others` does. */
function exclusive(point: Costs, others: readonly Costs[], reference: Costs): number {
  const box = point.reduce((product, x, i) => product * ((reference[i] ?? 0) - x), 1);
  const limited = others.map((other) => other.map((x, i) => Math.max(x, point[i] ?? 0)));
  return box - volumeOf(front(limited), reference);
}

/** Two objectives: a staircase. */
function sweep(points: readonly Costs[], [right = 0, top = 0]: Costs): number {
  let height = top;
  let area = 0;
  for (const [x = 0, y = 0] of [...points].sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0))) {
    area += (right - x) * Math.max(0, height - y);
    height = Math.min(height, y);
  }
  return area;
}
