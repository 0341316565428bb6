// Kernel alignment by its definition with features, a worked example, and its invariances.
import assert from "node:assert/strict";
import { centredGram, debiasedCka, linearCka } from "../../merge-core/analysis/cka.ts";

const N = 12;
const features = (seed: number, width: number, n = N): number[] => Array.from({ length: n * width }, (_, i) => Math.sin(12.9898 * (i + 1) * seed + seed));

/** |Y^T X|^2 / (|X^T X| |Y^T Y|) with centred columns, written out. */
function byFeatures(x: readonly number[], y: readonly number[], n: number): number {
  const centre = (z: readonly number[]) => {
    const p = z.length / n;
    return z.map((value, at) => value - Array.from({ length: n }, (_, i) => z[i * p + (at % p)] ?? 0).reduce((a, b) => a + b, 0) / n);
  };
  const square = (a: readonly number[], b: readonly number[]) => {
    const [p, q] = [a.length / n, b.length / n];
    let sum = 0;
    for (let i = 0; i < p; i++)
      for (let j = 0; j < q; j++) sum += Array.from({ length: n }, (_, k) => (a[k * p + i] ?? 0) * (b[k * q + j] ?? 0)).reduce((s, v) => s + v, 0) ** 2;
    return sum;
  };
  const [u, v] = [centre(x), centre(y)];
  return square(u, v) / Math.sqrt(square(u, u) * square(v, v));
}

const gram = (x: readonly number[], n = N) => centredGram(x, n);
const near = (actual: number | null, expected: number, tolerance = 1e-12) =>
  assert.ok(actual !== null && Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

describe("kernel alignment", () => {
  it("is the definition by features, for other widths too", () => {
    const [x, y] = [features(1, 5), features(2, 7)];
    near(linearCka(gram(x), gram(y)), byFeatures(x, y, N));
  });

  it("does not change by rotation, scale and shift", () => {
    const x = features(3, 2);
    const [c, s] = [Math.cos(0.7), Math.sin(0.7)];
    const turned = x.map((value, at) => 3 * (at % 2 === 0 ? c * value - s * (x[at + 1] ?? 0) : s * (x[at - 1] ?? 0) + c * value) + 5);
    near(linearCka(gram(x), gram(turned)), 1);
    near(debiasedCka(gram(x), gram(turned)), 1);
  });

  it("debiases as worked with the sums over distinct inputs", () => {
    // The U-statistic of HSIC: the mean of K_ij L_ij - 2 K_ij L_ik + K_ij L_kl over distinct i, j, k, l.
    const n = 6;
    const [k, l] = [gram(features(4, 3, n), n), gram(features(5, 4, n), n)];
    const mean = (a: Float64Array, b: Float64Array) => {
      let [sum, count] = [0, 0];
      for (let h = 0; h < n; h++)
        for (let i = 0; i < n; i++)
          for (let j = 0; j < n; j++)
            for (let m = 0; m < n; m++) {
              if (new Set([h, i, j, m]).size < 4) continue;
              const at = (z: Float64Array, r: number, q: number) => z[r * n + q] ?? 0;
              sum += at(a, h, i) * (at(b, h, i) - 2 * at(b, h, j) + at(b, j, m));
              count++;
            }
      return sum / count;
    };
    near(debiasedCka(k, l), mean(k, l) / Math.sqrt(mean(k, k) * mean(l, l)), 1e-10);
  });

  it("is biased upwards for wide unrelated features; debiased it is not", () => {
    const wide = (seed: number) => {
      let state = seed;
      return Array.from({ length: 20 * 400 }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32 - 0.5;
      });
    };
    const [k, l] = [gram(wide(1), 20), gram(wide(77), 20)];
    assert.ok((linearCka(k, l) ?? 0) > 0.8);
    assert.ok(Math.abs(debiasedCka(k, l) ?? 1) < 0.2, String(debiasedCka(k, l)));
  });

  it("has no value for constant features or too few inputs", () => {
    assert.equal(linearCka(gram(new Array<number>(N).fill(2)), gram(features(1, 2))), null);
    assert.equal(debiasedCka(gram([1, 2, 4], 3), gram([1, 2, 5], 3)), null);
  });
});
