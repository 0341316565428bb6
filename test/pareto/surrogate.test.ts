import assert from "node:assert/strict";
import { leastSquares, solveSystem } from "../../merge-core/pareto/least-squares.ts";
import { defaultSamples, mapSamples } from "../../merge-core/pareto/map-samples.ts";
import { RandomStream } from "../../merge-core/pareto/random-stream.ts";
import { fitSurrogate, predict, quadraticSize, surrogateError } from "../../merge-core/pareto/surrogate.ts";

const closeTo = (actual: readonly number[], expected: readonly number[], tolerance: number) => {
  const worst = Math.max(...expected.map((x, i) => Math.abs(x - (actual[i] ?? Number.NaN))));
  assert.ok(worst <= tolerance, `off by ${worst}: ${actual}`);
};

describe("small systems", () => {
  it("are solved with pivoting, and refused where singular", () => {
    closeTo(
      solveSystem(
        [
          [0, 2],
          [3, 1],
        ],
        [4, 5],
      ) ?? [],
      [1, 2],
      1e-14,
    );
    assert.equal(
      solveSystem(
        [
          [1, 2],
          [2, 4],
        ],
        [1, 2],
      ),
      undefined,
    );
  });

  it("least squares agrees with the normal equations worked by hand", () => {
    // y = 1 + 2x through (0,1), (1,3), (2,5), and one of (0,0) (1,1) (2,1): slope 1/2, offset 1/6.
    closeTo(
      leastSquares(
        [
          [1, 0],
          [1, 1],
          [1, 2],
        ],
        [1, 3, 5],
        [0, 0],
      ),
      [1, 2],
      1e-13,
    );
    closeTo(
      leastSquares(
        [
          [1, 0],
          [1, 1],
          [1, 2],
        ],
        [0, 1, 1],
        [0, 0],
      ),
      [1 / 6, 1 / 2],
      1e-13,
    );
    // With ridge r, one unknown: sum(ab) / (sum(aa) + r).
    closeTo(leastSquares([[1], [2]], [3, 4], [5]), [11 / 10], 1e-13);
  });
});

describe("surrogates of MAP", () => {
  it("have (T + 1)(T + 2) / 2 unknowns", () => {
    assert.deepEqual([2, 3, 4, 5, 8].map(quadraticSize), [6, 10, 15, 21, 45]);
  });

  for (const link of ["identity", "sigmoid", "softplus"] as const) {
    it(`recover a quadratic behind ${link}`, () => {
      const random = new RandomStream(3, link);
      const truth = { link, coefficients: Array.from({ length: quadraticSize(3) }, () => random.normal()) };
      const points = mapSamples({ low: [0, 0, 0], high: [1, 1, 1] }, 20, 1);
      const fitted = fitSurrogate(
        points,
        points.map((c) => predict(truth, c)),
        link,
      );
      closeTo(fitted.coefficients, truth.coefficients, 1e-3);
      const fresh = Array.from({ length: 50 }, () => [random.uniform(), random.uniform(), random.uniform()]);
      const error = surrogateError(
        fitted,
        fresh,
        fresh.map((c) => predict(truth, c)),
      );
      assert.ok(error < 1e-5, `${error}`);
    });
  }

  for (const link of ["sigmoid", "softplus"] as const) {
    it(`behind ${link} are nearest to the measurements themselves where these are no quadratic`, () => {
      const points = mapSamples({ low: [0, 0], high: [1, 1] }, 16, 2);
      const values = points.map(([x = 0, y = 0], i) => 0.5 + 0.4 * Math.sin(5 * x + y) + 0.05 * (i % 3));
      const { coefficients } = fitSurrogate(points, values, link);
      const error = (weights: readonly number[]) => values.length * surrogateError({ link, coefficients: weights }, points, values) ** 2;
      // At the least sum of squares no coefficient can be moved either way for less.
      for (const i of coefficients.keys()) {
        const at = (delta: number) => error(coefficients.map((w, k) => (k === i ? w + delta : w)));
        const [up, down, here] = [at(1e-3), at(-1e-3), at(0)];
        assert.ok(Math.abs(up - down) < 0.02 * (up + down - 2 * here), `${i}: ${up - here}, ${down - here}`);
      }
    });
  }

  it("stay finite with fewer measurements than unknowns and with fractions of 0 and 1", () => {
    const fitted = fitSurrogate(
      [
        [0, 0],
        [1, 0],
        [0, 1],
      ],
      [0, 1, 0.5],
      "sigmoid",
    );
    assert.ok(fitted.coefficients.every(Number.isFinite));
    closeTo(
      [
        [0, 0],
        [1, 0],
        [0, 1],
      ].map((c) => predict(fitted, c)),
      [0, 1, 0.5],
      0.02,
    );
  });
});

describe("samples of MAP", () => {
  it("hold each model alone and fill every range evenly", () => {
    const samples = mapSamples({ low: [0, 0], high: [1, 2] }, defaultSamples(2), 4);
    assert.equal(samples.length, 12);
    assert.deepEqual(samples.slice(0, 4), [
      [1, 0],
      [0, 2],
      [0, 0],
      [0.5, 1],
    ]);
    const parts = samples.slice(4).map(([, y = 0]) => Math.floor(y * 4));
    assert.deepEqual(parts.sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
  });
});
