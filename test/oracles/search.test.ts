// Searches against their usual implementations: pycma and pymoo (search_goldens.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { CmaEs } from "../../merge-core/pareto/cma-es.ts";
import { hypervolume } from "../../merge-core/pareto/hypervolume.ts";
import { nsga3 } from "../../merge-core/pareto/nsga3.ts";
import { simplexLattice } from "../../merge-core/pareto/reference-directions.ts";

type Vector = readonly number[];

interface Golden {
  readonly target: number;
  readonly rotation: readonly Vector[];
  /** Measurements that pycma takes, sorted. */
  readonly sphere: Vector;
  readonly rosenbrock: Vector;
  readonly rotatedEllipsoid: Vector;
  readonly hypervolumes: readonly { readonly points: readonly Vector[]; readonly reference: Vector; readonly volume: number }[];
  readonly directions: readonly { readonly objectives: number; readonly divisions: number; readonly directions: readonly Vector[] }[];
  /** Volumes that pymoo's NSGA-III finds, sorted. */
  readonly twoCorners: Vector;
  readonly dtlz2: Vector;
}

const golden = JSON.parse(readFileSync("test/fixtures/oracles/search/golden.json", "utf8")) as Golden;
const N = 10;
const RUNS = 21;
const median = (sorted: Vector): number => sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
const ascending = (values: Vector): Vector => [...values].sort((a, b) => a - b);
const sumOf = (values: Vector): number => values.reduce((sum, x) => sum + x, 0);

function measurements(cost: (x: Vector) => number, mean: number, seed: number): number {
  const search = new CmaEs({ mean: new Array<number>(N).fill(mean), sigma: 0.5, seed });
  for (let count = 0; count < 15_000; ) {
    const costs = search.ask().map(({ x }) => cost(x));
    const hit = costs.findIndex((value) => value < golden.target);
    if (hit >= 0) return count + hit + 1;
    count += costs.length;
    search.tell(costs);
  }
  return Number.POSITIVE_INFINITY;
}

describe("searches beside their usual implementations", () => {
  const sphere = (x: Vector) => sumOf(x.map((v) => v * v));
  const rosenbrock = (x: Vector) => sumOf(x.slice(1).map((v, i) => 100 * (v - (x[i] ?? 0) ** 2) ** 2 + (1 - (x[i] ?? 0)) ** 2));
  const rotatedEllipsoid = (x: Vector) => sumOf(golden.rotation.map((row, i) => 10 ** ((6 * i) / (N - 1)) * sumOf(row.map((r, j) => r * (x[j] ?? 0))) ** 2));
  for (const [name, cost, mean] of [
    ["sphere", sphere, 1],
    ["rosenbrock", rosenbrock, 0],
    ["rotatedEllipsoid", rotatedEllipsoid, 1],
  ] as const) {
    it(`CMA-ES solves ${name} in as many measurements as pycma`, () => {
      const ours = ascending(Array.from({ length: RUNS }, (_, seed) => measurements(cost, mean, seed + 1)));
      const ratio = median(ours) / median(golden[name]);
      assert.ok(ratio > 0.85 && ratio < 1.15, `median ${median(ours)}, pycma's ${median(golden[name])}`);
    });
  }

  it("hypervolumes are pymoo's", () => {
    for (const { points, reference, volume } of golden.hypervolumes) assert.ok(Math.abs(hypervolume(points, reference) - volume) < 1e-12, `${volume}`);
  });

  it("reference directions are pymoo's", () => {
    const rounded = (list: readonly Vector[]) => list.map((x) => x.map((v) => v.toFixed(9)).join(" ")).sort();
    for (const { objectives, divisions, directions } of golden.directions)
      assert.deepEqual(rounded(simplexLattice(objectives, divisions)), rounded(directions));
  });

  it("NSGA-III fills the volume that pymoo's fills", () => {
    const twoCorners = ([x = 0, y = 0]: Vector) => [x * x + y * y, (x - 1) ** 2 + (y - 1) ** 2];
    const dtlz2 = (x: Vector) => {
      const far = 1 + sumOf(x.slice(2).map((v) => (v - 0.5) ** 2));
      const [a, b] = [((x[0] ?? 0) * Math.PI) / 2, ((x[1] ?? 0) * Math.PI) / 2];
      return [far * Math.cos(a) * Math.cos(b), far * Math.cos(a) * Math.sin(b), far * Math.sin(a)];
    };
    const box = (size: number, low: number, high: number) => ({ low: new Array<number>(size).fill(low), high: new Array<number>(size).fill(high) });
    for (const [name, costs, bounds, reference] of [
      ["twoCorners", twoCorners, box(2, -1, 2), [2, 2]],
      ["dtlz2", dtlz2, box(7, 0, 1), [1.1, 1.1, 1.1]],
    ] as const) {
      const volumes = ascending(
        [1, 2, 3].map((seed) =>
          hypervolume(
            nsga3(costs, { ...bounds, seed }).map(({ costs: found }) => found),
            reference,
          ),
        ),
      );
      const ratio = median(volumes) / median(golden[name]);
      assert.ok(ratio > 0.98 && ratio < 1.02, `${name}: ${median(volumes)}, pymoo's ${median(golden[name])}`);
    }
  });
});
