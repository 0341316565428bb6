import assert from "node:assert/strict";
import { generationalDistance } from "../../merge-core/pareto/front-measures.ts";
import { hypervolume } from "../../merge-core/pareto/hypervolume.ts";
import { type Nsga3Options, nsga3 } from "../../merge-core/pareto/nsga3.ts";
import { referenceDirections, simplexLattice } from "../../merge-core/pareto/reference-directions.ts";

/** Squared distances to two corners: the front is f2 = (sqrt(2) - sqrt(f1))^2, on the diagonal between them. */
const twoCorners = ([x = 0, y = 0]: readonly number[]) => [x * x + y * y, (x - 1) ** 2 + (y - 1) ** 2];
const box: Nsga3Options = { low: [-1, -1], high: [2, 2], seed: 1 };

describe("reference directions", () => {
  it("are all lattice points that sum to one", () => {
    const lattice = simplexLattice(3, 4);
    assert.equal(lattice.length, 15);
    assert.equal(new Set(lattice.map(String)).size, 15);
    for (const direction of lattice) assert.ok(Math.abs(direction.reduce((a, b) => a + b, 0) - 1) < 1e-12);
  });

  it("fit the population and reach inside with many objectives", () => {
    assert.equal(referenceDirections(3, 100).length, 91);
    const eight = referenceDirections(8, 100);
    assert.ok(eight.length <= 100);
    assert.ok(eight.some((direction) => direction.every((x) => x > 0)));
  });
});

describe("NSGA-III", () => {
  it("finds the closed-form front of two quadratics", () => {
    const found = nsga3(twoCorners, box).map(({ costs }) => costs);
    const truth = Array.from({ length: 1001 }, (_, i) => twoCorners([i / 1000, i / 1000]));
    assert.ok(found.length > 80, `${found.length} points`);
    assert.ok(generationalDistance(found, truth) < 5e-3, `${generationalDistance(found, truth)}`);
    assert.ok(generationalDistance(truth, found) < 3e-2, `${generationalDistance(truth, found)}`);
    // The area below the box [2, 2] that the curve f2 = (sqrt 2 - sqrt f1)^2 bounds is 4 - 2/3.
    const volume = hypervolume(found, [2, 2]);
    assert.ok(volume > 0.99 * (4 - 2 / 3) && volume < 4 - 2 / 3, `${volume}`);
  });

  it("spreads as well where one objective has larger units", () => {
    const found = nsga3((x) => twoCorners(x).map((cost, i) => (i === 0 ? cost : 1000 * cost)), box).map(({ costs: [a = 0, b = 0] }) => [a, b / 1000]);
    const truth = Array.from({ length: 1001 }, (_, i) => twoCorners([i / 1000, i / 1000]));
    assert.ok(generationalDistance(truth, found) < 3e-2, `${generationalDistance(truth, found)}`);
  });

  it("spreads over a front of three objectives", () => {
    const corners = [
      [0, 0, 0],
      [1, 0, 0],
      [0, 1, 0],
    ];
    const costs = (x: readonly number[]) => corners.map((corner) => corner.reduce((sum, c, i) => sum + ((x[i] ?? 0) - c) ** 2, 0));
    const found = nsga3(costs, { low: [-1, -1, -1], high: [2, 2, 2], seed: 2 });
    // The optimal set is the triangle between the corners.
    const steps = Array.from({ length: 61 }, (_, i) => i / 60);
    const truth = steps.flatMap((a) => steps.filter((b) => a + b <= 1 + 1e-9).map((b) => costs([a, b, 0])));
    const distance = generationalDistance(
      found.map((point) => point.costs),
      truth,
    );
    assert.ok(distance < 0.04, `${distance}`);
    for (const corner of corners) assert.ok(found.some(({ x }) => Math.hypot(...x.map((v, i) => v - (corner[i] ?? 0))) < 0.25));
  });

  it("depends on the seed alone and stays in the box", () => {
    const run = (seed: number) => nsga3(twoCorners, { ...box, low: [0.2, 0.2], seed, generations: 10 });
    assert.deepEqual(run(3), run(3));
    assert.notDeepEqual(run(3), run(4));
    for (const { x } of run(3)) for (const value of x) assert.ok(value >= 0.2 && value <= 2);
  });
});
