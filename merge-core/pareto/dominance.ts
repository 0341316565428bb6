// Which points are better than which. Everything in this folder's pure part is minimised; directions are applied at its edges.
import type { Direction } from "./front-file.ts";

/** A value of each objective, smaller being better. */
export type Costs = readonly number[];

/** Measured values as costs. */
export function asCosts(values: readonly number[], directions: readonly Direction[]): number[] {
  return values.map((value, i) => (directions[i] === "maximize" ? -value : value));
}

/** No worse anywhere and better somewhere. */
export function dominates(a: Costs, b: Costs): boolean {
  let better = false;
  for (let i = 0; i < a.length; i++) {
    const [x = 0, y = 0] = [a[i], b[i]];
    if (x > y) return false;
    if (x < y) better = true;
  }
  return better;
}

/** Indices of the points that no other dominates, ascending. Of equal points the first stays. */
export function nonDominated(points: readonly Costs[]): number[] {
  const equal = (a: Costs, b: Costs) => a.every((x, i) => x === b[i]);
  const beaten = (p: Costs, i: number) => points.some((q, j) => dominates(q, p) || (j < i && equal(q, p)));
  return points.flatMap((point, i) => (beaten(point, i) ? [] : [i]));
}

/** Fast non-dominated sorting (Deb et al. 2002): the first front, the front without it, and so on. Equal points share a front. */
export function nonDominatedSort(points: readonly Costs[]): number[][] {
  const beats: number[][] = points.map((p) => points.flatMap((q, j) => (dominates(p, q) ? [j] : [])));
  const beatenBy = new Int32Array(points.length);
  for (const list of beats) for (const j of list) beatenBy[j] = (beatenBy[j] ?? 0) + 1;
  const fronts: number[][] = [];
  let front = points.flatMap((_, i) => (beatenBy[i] === 0 ? [i] : []));
  while (front.length > 0) {
    fronts.push(front);
    const next: number[] = [];
    for (const j of front.flatMap((i) => beats[i] ?? [])) {
      const left = (beatenBy[j] ?? 0) - 1;
      beatenBy[j] = left;
      if (left === 0) next.push(j);
    }
    front = next.sort((a, b) => a - b);
  }
  return fronts;
}
