import assert from "node:assert/strict";
import { CmaEs, type CmaOptions } from "../../merge-core/pareto/cma-es.ts";
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
