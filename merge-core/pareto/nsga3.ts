// NSGA-III (Deb and Jain 2014) in a box, all objectives minimised: simulated binary crossover, polynomial mutation, survival by
// fronts, and within the last one by the least crowded reference directions. Rates and generations are the paper's; the released code of MAP crosses 0.7 of
// the pairs over, mutates 0.3 of the children and stops after 25 generations, which on surrogates saves nothing.
import { type Costs, nonDominated, nonDominatedSort } from "./dominance.ts";
import { solveSystem } from "./least-squares.ts";
import { RandomStream } from "./random-stream.ts";
import { referenceDirections } from "./reference-directions.ts";

export interface Nsga3Options {
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly seed: number;
  /** Default 100. */
  readonly population?: number;
  /** Default 150. */
  readonly generations?: number;
  /** Crossover and mutation keep closer to the parents the larger it is. Default 20. */
  readonly eta?: number;
  readonly start?: readonly (readonly number[])[];
}

export interface Individual {
  readonly x: readonly number[];
  readonly costs: Costs;
}

const CROSSOVER_PROBABILITY = 0.9;

/** The non-dominated ones of all points ever looked at in the last population. */
export function nsga3(costsOf: (x: readonly number[]) => Costs, options: Nsga3Options): Individual[] {
  const { low, high, population = 100, generations = 150, eta = 20, start = [] } = options;
  const random = new RandomStream(options.seed, "nsga3");
  const measure = (x: readonly number[]): Individual => ({ x, costs: costsOf(x) });
  const anywhere = () => low.map((l, i) => l + ((high[i] ?? l) - l) * random.uniform());
  let alive = [...start.slice(0, population), ...Array.from({ length: Math.max(0, population - start.length) }, anywhere)].map(measure);
  const directions = referenceDirections(alive[0]?.costs.length ?? 1, population);
  for (let generation = 0; generation < generations; generation++) {
    const parents = random.shuffled(alive);
    const children: Individual[] = [];
    for (let i = 0; i < population; i += 2) {
      const [a = [], b = []] = [parents[i]?.x, parents[(i + 1) % parents.length]?.x];
      for (const child of crossover(a, b, { low, high, eta, random }))
        if (children.length < population) children.push(measure(mutate(child, { low, high, eta, random })));
    }
    alive = survive([...alive, ...children], population, directions, random);
  }
  return nonDominated(alive.map(({ costs }) => costs)).map((i) => alive[i] as Individual);
}

interface Variation {
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly eta: number;
  readonly random: RandomStream;
}

const clamp = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x));

/** Two children spread about their parents as far as the parents lie apart (Deb and Agrawal 1995). */
function crossover(a: readonly number[], b: readonly number[], { low, high, eta, random }: Variation): [number[], number[]] {
  const [first, second] = [[...a], [...b]];
  if (random.uniform() >= CROSSOVER_PROBABILITY) return [first, second];
  for (const [i, x = 0] of a.entries()) {
    const y = b[i] ?? 0;
    const u = random.uniform();
    if (random.uniform() < 0.5) continue;
    const spread = u < 0.5 ? (2 * u) ** (1 / (eta + 1)) : (1 / (2 * (1 - u))) ** (1 / (eta + 1));
    const bound = (value: number) => clamp(value, low[i] ?? 0, high[i] ?? 0);
    first[i] = bound(0.5 * ((1 + spread) * x + (1 - spread) * y));
    second[i] = bound(0.5 * ((1 - spread) * x + (1 + spread) * y));
  }
  return [first, second];
}

/** Moves on average one gene, by a polynomially distributed step. */
function mutate(x: readonly number[], { low, high, eta, random }: Variation): number[] {
  return x.map((value, i) => {
    if (random.uniform() >= 1 / x.length) return value;
    const u = random.uniform();
    const step = u < 0.5 ? (2 * u) ** (1 / (eta + 1)) - 1 : 1 - (2 * (1 - u)) ** (1 / (eta + 1));
    const [from = 0, to = 0] = [low[i], high[i]];
    return clamp(value + step * (to - from), from, to);
  });
}

/** The best `count`: whole fronts first, then of the front that does not fit those that fill the emptiest directions. */
function survive(all: readonly Individual[], count: number, directions: readonly Costs[], random: RandomStream): Individual[] {
  const kept: number[] = [];
  for (const front of nonDominatedSort(all.map(({ costs }) => costs))) {
    if (kept.length + front.length <= count) kept.push(...front);
    else {
      kept.push(...fillNiches(all, kept, front, count - kept.length, directions, random));
      break;
    }
  }
  return kept.map((i) => all[i] as Individual);
}

function fillNiches(
  all: readonly Individual[],
  kept: readonly number[],
  last: readonly number[],
  room: number,
  directions: readonly Costs[],
  random: RandomStream,
): number[] {
  const considered = [...kept, ...last];
  const scaled = normalise(considered.map((i) => all[i]?.costs ?? []));
  const places = scaled.map((point) => nearestDirection(point, directions));
  const crowd = new Int32Array(directions.length);
  for (const { direction } of places.slice(0, kept.length)) crowd[direction] = (crowd[direction] ?? 0) + 1;
  const waiting = new Map<number, { index: number; distance: number }[]>();
  for (let k = kept.length; k < considered.length; k++) {
    const { direction, distance } = places[k] ?? { direction: 0, distance: 0 };
    waiting.set(direction, [...(waiting.get(direction) ?? []), { index: considered[k] ?? 0, distance }]);
  }
  for (const list of waiting.values()) list.sort((a, b) => a.distance - b.distance);
  const chosen: number[] = [];
  while (chosen.length < room) {
    const least = Math.min(...[...waiting.keys()].map((d) => crowd[d] ?? 0));
    const emptiest = [...waiting.keys()].filter((d) => crowd[d] === least);
    const direction = emptiest[random.index(emptiest.length)] ?? 0;
    const list = waiting.get(direction) ?? [];
    // The nearest stands for an empty direction; in a peopled one any will do.
    const [next] = list.splice(least === 0 ? 0 : random.index(list.length), 1);
    if (list.length === 0) waiting.delete(direction);
    if (next === undefined) break;
    chosen.push(next.index);
    crowd[direction] = (crowd[direction] ?? 0) + 1;
  }
  return chosen;
}

/** Ideal point to 0, intercepts of the plane through the extreme points to 1; the worst values where there is no such plane. */
function normalise(points: readonly Costs[]): number[][] {
  const [first = []] = points;
  const ideal = first.map((_, i) => Math.min(...points.map((p) => p[i] ?? 0)));
  const moved = points.map((p) => p.map((x, i) => x - (ideal[i] ?? 0)));
  const worst = first.map((_, i) => Math.max(...moved.map((p) => p[i] ?? 0)));
  const extremes = first.map((_, axis) => {
    const stretch = (p: Costs) => Math.max(...p.map((x, i) => (i === axis ? x : x * 1e6)));
    return moved.reduce((best, p) => (stretch(p) < stretch(best) ? p : best), moved[0] ?? []);
  });
  const plane = solveSystem(
    extremes.map((p) => [...p]),
    extremes.map(() => 1),
  );
  const scale = worst.map((w, i) => {
    const intercept = 1 / (plane?.[i] ?? Number.NaN);
    return intercept > 1e-6 && intercept <= w * 1e3 ? intercept : w > 0 ? w : 1;
  });
  return moved.map((p) => p.map((x, i) => x / (scale[i] ?? 1)));
}

function nearestDirection(point: Costs, directions: readonly Costs[]): { direction: number; distance: number } {
  let best = { direction: 0, distance: Number.POSITIVE_INFINITY };
  const square = point.reduce((sum, x) => sum + x * x, 0);
  for (const [direction, w] of directions.entries()) {
    const along = point.reduce((sum, x, i) => sum + x * (w[i] ?? 0), 0);
    const length = w.reduce((sum, x) => sum + x * x, 0);
    const distance = Math.max(0, square - (along * along) / length);
    if (distance < best.distance) best = { direction, distance };
  }
  return best;
}
