import assert from "node:assert/strict";
import { CmaEs, type CmaOptions } from "../../merge-core/pareto/cma-es.ts";
import { solveSystem } from "../../merge-core/pareto/least-squares.ts";
import { RandomStream } from "../../merge-core/pareto/random-stream.ts";

type Cost = (x: readonly number[]) => number;
const sphere: Cost = (x) => x.reduce((sum, v) => sum + v * v, 0);
const rosenbrock: Cost = (x) => x.slice(1).reduce((sum, v, i) => sum + 100 * (v - (x[i] ?? 0) ** 2) ** 2 + (1 - (x[i] ?? 0)) ** 2, 0);
const ellipsoid: Cost = (x) => x.reduce((sum, v, i) => sum + 1e6 ** (i / (x.length - 1)) * v * v, 0);

/** Measurements until a cost below `target` was seen. */
function countTo(cost: Cost, target: number, options: CmaOptions, most: number): number {
  const search = new CmaEs(options);
  for (let count = 0; count < most; ) {
    const asked = search.ask();
    const costs = asked.map(({ x }) => cost(x));
    const hit = costs.findIndex((value) => value < target);
    if (hit >= 0) return count + hit + 1;
    count += asked.length;
    search.tell(costs);
  }
  return Number.POSITIVE_INFINITY;
}

/** A random rotation by Gram and Schmidt. */
function rotation(n: number): number[][] {
  const random = new RandomStream(9, "rotation");
  const rows: number[][] = [];
  while (rows.length < n) {
    let row = Array.from({ length: n }, () => random.normal());
    for (const other of rows) {
      const along = row.reduce((sum, v, i) => sum + v * (other[i] ?? 0), 0);
      row = row.map((v, i) => v - along * (other[i] ?? 0));
    }
    const length = Math.hypot(...row);
    rows.push(row.map((v) => v / length));
  }
  return rows;
}

const median = (list: number[]): number => list.sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
const start = (n: number, at: number, sigma: number, seed: number): CmaOptions => ({ mean: new Array<number>(n).fill(at), sigma, seed });

type Matrix = readonly (readonly number[])[];
interface TutorialState {
  readonly mean: readonly number[];
  readonly sigma: number;
  readonly c: Matrix;
  readonly pathC: readonly number[];
  readonly pathS: readonly number[];
  readonly steady: boolean;
}

const tutorialStart = (mean: readonly number[], sigma: number): TutorialState => {
  const zeros = mean.map(() => 0);
  return { mean, sigma, c: mean.map((_, i) => mean.map((_m, j) => (i === j ? 1 : 0))), pathC: zeros, pathS: zeros, steady: true };
};

const inverse = (a: Matrix): number[][] => {
  const columns = a.map((_, k) =>
    solveSystem(
      a.map((row) => [...row]),
      a.map((_row, i) => (i === k ? 1 : 0)),
    ),
  );
  return a.map((_, i) => columns.map((column) => column?.[i] ?? Number.NaN));
};

/** C^(-1/2) by the iteration of Denman and Beavers (1976). */
function inverseRoot(c: Matrix): Matrix {
  let [y, z]: [Matrix, Matrix] = [c, c.map((_, i) => c.map((_row, j) => (i === j ? 1 : 0)))];
  for (let step = 0; step < 40; step++) {
    const mean = (a: Matrix, b: Matrix) => a.map((row, i) => row.map((v, j) => (v + (b[i]?.[j] ?? 0)) / 2));
    [y, z] = [mean(y, inverse(z)), mean(z, inverse(y))];
  }
  return z;
}

/** Equations 40 to 47 and table 1 of 1604.00772, from the candidates alone, the best first. */
function tutorialStep(at: TutorialState, candidates: Matrix, generation: number): TutorialState {
  const [n, lambda] = [at.mean.length, candidates.length];
  const mu = Math.floor(lambda / 2);
  const raw = candidates.map((_, i) => Math.log((lambda + 1) / 2) - Math.log(i + 1));
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  const effective = (list: readonly number[]) => sum(list) ** 2 / sum(list.map((w) => w * w));
  const [muEff, muEffMinus] = [effective(raw.slice(0, mu)), effective(raw.slice(mu))];
  const c1 = 2 / ((n + 1.3) ** 2 + muEff);
  const cMu = Math.min(1 - c1, (2 * (1 / 4 + muEff + 1 / muEff - 2)) / ((n + 2) ** 2 + muEff));
  const alphaMinus = Math.min(1 + c1 / cMu, 1 + (2 * muEffMinus) / (muEff + 2), (1 - c1 - cMu) / (n * cMu));
  const [plus, minus] = [sum(raw.filter((w) => w > 0)), -sum(raw.filter((w) => w < 0))];
  const weights = raw.map((w) => (w >= 0 ? w / plus : (alphaMinus * w) / minus));
  const cSigma = (muEff + 2) / (n + muEff + 5);
  const dSigma = 1 + 2 * Math.max(0, Math.sqrt((muEff - 1) / (n + 1)) - 1) + cSigma;
  const cC = (4 + muEff / n) / (n + 4 + (2 * muEff) / n);
  const chi = Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
  const ys = candidates.map((x) => x.map((v, i) => (v - (at.mean[i] ?? 0)) / at.sigma));
  const step = at.mean.map((_, i) => sum(ys.slice(0, mu).map((y, k) => (weights[k] ?? 0) * (y[i] ?? 0))));
  const root = inverseRoot(at.c);
  const white = (y: readonly number[]) => root.map((row) => sum(row.map((v, i) => v * (y[i] ?? 0))));
  const whiteStep = white(step);
  const pathS = at.pathS.map((p, i) => (1 - cSigma) * p + Math.sqrt(cSigma * (2 - cSigma) * muEff) * (whiteStep[i] ?? 0));
  const length = Math.hypot(...pathS);
  const steady = length / Math.sqrt(1 - (1 - cSigma) ** (2 * generation)) < (1.4 + 2 / (n + 1)) * chi;
  const pathC = at.pathC.map((p, i) => (1 - cC) * p + (steady ? Math.sqrt(cC * (2 - cC) * muEff) * (step[i] ?? 0) : 0));
  const scaled = weights.map((w, k) => (w >= 0 ? w : (w * n) / Math.hypot(...white(ys[k] ?? [])) ** 2));
  const keep = 1 + (steady ? 0 : c1 * cC * (2 - cC)) - c1 - cMu * sum(weights);
  const many = (i: number, j: number) => sum(ys.map((y, k) => (scaled[k] ?? 0) * (y[i] ?? 0) * (y[j] ?? 0)));
  const c = at.c.map((row, i) => row.map((v, j) => keep * v + c1 * (pathC[i] ?? 0) * (pathC[j] ?? 0) + cMu * many(i, j)));
  const mean = at.mean.map((m, i) => m + at.sigma * (step[i] ?? 0));
  return { mean, sigma: at.sigma * Math.exp((cSigma / dSigma) * (length / chi - 1)), c, pathC, pathS, steady };
}

describe("CMA-ES", () => {
  // In 10 dimensions to a cost of 1e-9, with bounds half as much again as is usual: some 1500, 5000 and 4000 to 6000 measurements.
  it("solves the sphere in the usual number of measurements", () => {
    const count = median([1, 2, 3].map((seed) => countTo(sphere, 1e-9, start(10, 1, 0.5, seed), 10_000)));
    assert.ok(count > 800 && count < 2200, `${count}`);
  });

  it("solves Rosenbrock's function in the usual number of measurements", () => {
    const count = median([1, 2, 3].map((seed) => countTo(rosenbrock, 1e-9, start(10, 0, 0.5, seed), 20_000)));
    assert.ok(count < 8500, `${count}`);
  });

  it("solves a rotated ellipsoid as it solves one along the axes", () => {
    const turn = rotation(10);
    const turned: Cost = (x) => ellipsoid(turn.map((row) => row.reduce((sum, v, i) => sum + v * (x[i] ?? 0), 0)));
    const along = median([1, 2, 3].map((seed) => countTo(ellipsoid, 1e-9, start(10, 1, 0.5, seed), 20_000)));
    const across = median([1, 2, 3].map((seed) => countTo(turned, 1e-9, start(10, 1, 0.5, seed), 20_000)));
    assert.ok(across < 8500, `${across}`);
    assert.ok(Math.abs(across - along) < 0.25 * along, `${across} turned, ${along} not`);
  });

  it("takes the tutorial's steps, generation by generation", () => {
    const n = 4;
    const search = new CmaEs({ mean: [3, -2, 1, 4], sigma: 0.02, seed: 8 });
    const turn = rotation(n);
    const cost: Cost = (x) => ellipsoid(turn.map((row) => row.reduce((sum, v, i) => sum + v * (x[i] ?? 0), 0)));
    let state = tutorialStart([3, -2, 1, 4], 0.02);
    const steady: boolean[] = [];
    for (let generation = 1; generation <= 40; generation++) {
      const asked = search.ask().map(({ x }) => x);
      const costs = asked.map(cost);
      search.tell(costs);
      const order = [...costs.keys()].sort((a, b) => (costs[a] ?? 0) - (costs[b] ?? 0));
      state = tutorialStep(
        state,
        order.map((i) => asked[i] ?? []),
        generation,
      );
      steady.push(state.steady);
      assert.ok(Math.abs(search.sigma / state.sigma - 1) < 1e-8, `generation ${generation}: ${search.sigma}, expected ${state.sigma}`);
      for (const [i, m] of state.mean.entries()) assert.ok(Math.abs((search.mean[i] ?? 0) - m) < 1e-8);
    }
    assert.ok(steady.includes(true) && steady.includes(false));
  });

  it("works in one dimension", () => {
    assert.ok(countTo(([x = 0]) => (x - 0.3) ** 2, 1e-9, start(1, 1, 0.5, 1), 1000) < 400);
  });

  it("finds an optimum on the edge of a box and asks for nothing outside", () => {
    const search = new CmaEs({ mean: [0.5, 0.5], sigma: 1 / 6, low: [0, 0], high: [1, 1], seed: 4 });
    let best = Number.POSITIVE_INFINITY;
    for (let generation = 0; generation < 60 && search.stopped === undefined; generation++) {
      const asked = search.ask();
      for (const { x } of asked) for (const v of x) assert.ok(v >= 0 && v <= 1);
      const costs = asked.map(({ x: [a = 0, b = 0] }) => (a - 2) ** 2 + (b - 0.25) ** 2);
      best = Math.min(best, ...costs);
      search.tell(costs);
    }
    assert.ok(best - 1 < 1e-6, `${best}`);
  });

  it("goes on past failed measurements, and stops where nothing differs", () => {
    const options = start(3, 1, 0.5, 5);
    const search = new CmaEs(options);
    let best = Number.POSITIVE_INFINITY;
    for (let generation = 0; generation < 100; generation++) {
      const costs = search.ask().map(({ x }, i) => ((i + generation) % 5 === 0 ? Number.NaN : sphere(x)));
      best = Math.min(best, ...costs.filter(Number.isFinite));
      search.tell(costs);
    }
    assert.ok(best < 1e-6, `${best}`);
    const flat = new CmaEs(options);
    flat.tell(flat.ask().map(() => 7));
    assert.match(flat.stopped ?? "", /same/);
    const failed = new CmaEs(options);
    failed.tell(failed.ask().map(() => Number.NaN));
    assert.equal(failed.stopped, undefined);
  });

  it("depends on the seed alone", () => {
    const first = (seed: number) => new CmaEs(start(4, 0, 1, seed)).ask();
    assert.deepEqual(first(1), first(1));
    assert.notDeepEqual(first(1), first(2));
  });
});
