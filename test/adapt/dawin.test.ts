import assert from "node:assert/strict";
import { betaMixture, entropyShares, fitMixture, logGamma, matchMoments, shareCoefficients } from "../../merge-core/adapt/dawin.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

describe("DaWin", () => {
  const random = testRandom(11);
  const uniform = () => (random() + 1) / 2;
  /** Gamma(k, 1) for whole k: a sum of exponential draws. */
  const gamma = (k: number) => Array.from({ length: k }, () => -Math.log(1 - uniform())).reduce((a, b) => a + b, 0);
  const dirichlet = (...alphas: number[]) => {
    const draws = alphas.map(gamma);
    const sum = draws.reduce((a, b) => a + b, 0);
    return draws.map((x) => x / sum);
  };

  it("weighs models by exp of minus their entropy", () => {
    const [shares = []] = entropyShares([[1.2, 0.4]]);
    assert.ok(Math.abs((shares[1] ?? 0) - 0.689974) < 1e-6);
    assert.deepEqual(entropyShares([[2000, 2000]]), [[0.5, 0.5]]);
    assert.deepEqual(shareCoefficients([0.25, 0.25, 0.25, 0.25]), [0.3, 0.3, 0.3, 0.3]);
  });

  it("knows log Gamma", () => {
    assert.ok(Math.abs(logGamma(5) - Math.log(24)) < 1e-12);
    assert.ok(Math.abs(logGamma(0.5) - Math.log(Math.sqrt(Math.PI))) < 1e-12);
    assert.ok(Math.abs(logGamma(100) - 359.1342053695754) < 1e-9);
    assert.ok(Math.abs(logGamma(0.1) - 2.252712651734206) < 1e-12);
  });

  it("matches moments as the released code does: f = m (1 - m) / v - 1, the variance at most m (1 - m) / 4", () => {
    const betaOf = (values: readonly number[]) =>
      matchMoments(
        values.map((x) => [1 - x, x]),
        values.map(() => 1),
      );
    const close = (found: readonly number[], expected: readonly number[]) => {
      for (const [i, x] of expected.entries()) assert.ok(Math.abs((found[i] ?? 9) - x) < 1e-9, `${found}, expected ${expected}`);
    };
    // Mean 0.3, variance 0.04: f = 4.25.
    const { alphas, logAt } = betaOf([0.1, 0.5]);
    close(alphas, [0.7 * 4.25, 0.3 * 4.25]);
    // Mean 0.5, variance 0.2401, held at 0.0625: f = 3.
    close(betaOf([0.01, 0.99]).alphas, [1.5, 1.5]);
    // A density: it integrates to one.
    const steps = 20_000;
    const area = Array.from({ length: steps }, (_, i) => Math.exp(logAt([1 - (i + 0.5) / steps, (i + 0.5) / steps])) / steps).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(area - 1) < 1e-3, `${area}`);
  });

  it("finds the components of a mixture of Betas, and who belongs to which", () => {
    const truth = Array.from({ length: 600 }, (_, i) => i % 3);
    const values = truth.map(
      (k) =>
        dirichlet(
          ...([
            [2, 18],
            [15, 15],
            [18, 2],
          ][k] ?? [1, 1]),
        )[0] ?? 0,
    );
    const { means, assignments } = betaMixture(values, 3);
    const found = means.map((mean) => mean[1] ?? 0);
    const order = [0, 1, 2].sort((a, b) => (found[a] ?? 0) - (found[b] ?? 0));
    for (const [k, expected] of [0.1, 0.5, 0.9].entries()) assert.ok(Math.abs((found[order[k] ?? 0] ?? 0) - expected) < 0.03, `${found}`);
    const right = truth.filter((k, i) => assignments[i] === order[k]).length;
    assert.ok(right > 0.95 * truth.length, `${right}`);
  });

  it("finds the components of a mixture on the simplex", () => {
    const shares = Array.from({ length: 400 }, (_, i) => dirichlet(...(i % 2 === 0 ? [16, 2, 2] : [2, 9, 9])));
    const { means, assignments } = fitMixture(shares, 2);
    const first = (means[0]?.[0] ?? 0) > (means[1]?.[0] ?? 0) ? 0 : 1;
    for (const [k, expected] of [0.8, 0.1, 0.1].entries()) assert.ok(Math.abs((means[first]?.[k] ?? 0) - expected) < 0.03, `${means}`);
    for (const [k, expected] of [0.1, 0.45, 0.45].entries()) assert.ok(Math.abs((means[1 - first]?.[k] ?? 0) - expected) < 0.03, `${means}`);
    assert.ok(shares.filter((_, i) => assignments[i] === (i % 2 === 0 ? first : 1 - first)).length > 390);
  });

  it("is the plain mean with one component, and copes with samples that are all alike", () => {
    const shares = [
      [0.2, 0.8],
      [0.6, 0.4],
    ];
    const [mean = []] = fitMixture(shares, 1).means;
    assert.ok(Math.abs((mean[0] ?? 0) - 0.4) < 1e-12 && Math.abs((mean[1] ?? 0) - 0.6) < 1e-12);
    const alike = fitMixture(
      Array.from({ length: 5 }, () => [0, 1]),
      3,
    );
    for (const own of alike.means) assert.ok(own.every(Number.isFinite));
    assert.equal(alike.assignments.length, 5);
  });
});
