import assert from "node:assert/strict";
import { dominates, nonDominated, nonDominatedSort } from "../../merge-core/pareto/dominance.ts";
import { generationalDistance, kneeOf, spacing } from "../../merge-core/pareto/front-measures.ts";
import { hypervolume } from "../../merge-core/pareto/hypervolume.ts";
import { RandomStream } from "../../merge-core/pareto/random-stream.ts";

const near = (actual: number | undefined, expected: number, tolerance = 1e-12) =>
  assert.ok(Math.abs((actual ?? Number.NaN) - expected) <= tolerance, `found ${actual}, expected ${expected}`);

/** Volume by inclusion and exclusion over all subsets: slow and independent. */
function byInclusion(points: readonly (readonly number[])[], reference: readonly number[]): number {
  let total = 0;
  for (let set = 1; set < 1 << points.length; set++) {
    const members = points.filter((_, i) => set & (1 << i));
    const sides = reference.map((r, axis) => Math.max(0, r - Math.max(...members.map((p) => p[axis] ?? 0))));
    total += (members.length % 2 === 1 ? 1 : -1) * sides.reduce((a, b) => a * b, 1);
  }
  return total;
}

describe("dominance", () => {
  it("needs one objective better and none worse", () => {
    assert.ok(dominates([1, 2], [1, 3]));
    assert.ok(!dominates([1, 2], [1, 2]));
    assert.ok(!dominates([0, 3], [1, 2]));
  });

  it("keeps one of equal points and sorts into fronts", () => {
    const points = [
      [1, 4],
      [2, 2],
      [1, 4],
      [3, 3],
      [4, 1],
      [4, 4],
    ];
    assert.deepEqual(nonDominated(points), [0, 1, 4]);
    assert.deepEqual(nonDominatedSort(points), [[0, 1, 2, 4], [3], [5]]);
  });
});

describe("hypervolume", () => {
  it("is the staircase's area with two objectives", () => {
    const points = [
      [0.2, 0.8],
      [0.9, 0.1],
      [0.5, 0.4],
    ];
    near(hypervolume(points, [1, 1]), 0.39);
    near(hypervolume([...points, [0.6, 0.6], [1.2, 0], [0.5, 0.4]], [1, 1]), 0.39);
  });

  it("is exact for small cases with three objectives", () => {
    near(hypervolume([[0, 0, 0]], [1, 2, 3]), 6);
    near(
      hypervolume(
        [
          [1, 0, 0],
          [0, 1, 0],
          [0, 0, 1],
        ],
        [2, 2, 2],
      ),
      7,
    );
    near(
      hypervolume(
        [
          [1, 2, 3],
          [2, 3, 1],
          [3, 1, 2],
        ],
        [4, 4, 4],
      ),
      6 + 6 + 6 - 2 - 2 - 2 + 1,
    );
  });

  for (const objectives of [2, 3, 4, 5]) {
    it(`agrees with inclusion and exclusion on random points, ${objectives} objectives`, () => {
      const random = new RandomStream(5, `points ${objectives}`);
      const points = Array.from({ length: 9 }, () => Array.from({ length: objectives }, () => random.uniform() * 1.1));
      const reference = new Array<number>(objectives).fill(1);
      near(hypervolume(points, reference), byInclusion(points, reference), 1e-12);
    });
  }

  it("is zero without a point inside the box", () => {
    assert.equal(hypervolume([], [1, 1]), 0);
    assert.equal(hypervolume([[1, 0]], [1, 1]), 0);
    assert.equal(hypervolume([[Number.NaN, 0]], [1, 1]), 0);
  });
});

describe("measures of a front", () => {
  it("spacing is zero for even points and a standard deviation otherwise", () => {
    near(
      spacing([
        [0, 2],
        [1, 1],
        [2, 0],
      ]),
      0,
    );
    // Nearest neighbours at city-block distance 2, 2 and 4.
    near(
      spacing([
        [0, 4],
        [1, 3],
        [3, 1],
      ]),
      Math.sqrt(((2 - 8 / 3) ** 2 * 2 + (4 - 8 / 3) ** 2) / 2),
    );
    assert.equal(spacing([[1, 1]]), undefined);
  });

  it("the knee is the point furthest below the line through the ends, whatever the units", () => {
    const front = [
      [0, 10],
      [1, 9],
      [2, 2],
      [9, 1],
      [10, 0],
    ];
    assert.equal(kneeOf(front), 2);
    assert.equal(kneeOf(front.map(([x = 0, y = 0]) => [1000 * x, y / 7 + 3])), 2);
    assert.equal(kneeOf([[1, 1]]), 0);
    assert.equal(kneeOf([]), undefined);
  });

  it("generational distance is the mean way to the other front", () => {
    near(
      generationalDistance(
        [
          [0, 0],
          [3, 4],
        ],
        [
          [0, 0],
          [9, 9],
        ],
      ),
      2.5,
    );
  });
});
