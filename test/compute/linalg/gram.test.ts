import assert from "node:assert/strict";
import { gramOf, pivotedCholesky, rowProducts } from "../../../merge-core/compute/linalg/gram.ts";
import { symmetricEigen } from "../../../merge-core/compute/linalg/symmetric-eigen.ts";
import { testRandom } from "../../helpers/tiny-decoder.ts";

const randoms = (count: number, seed: number) => Float64Array.from({ length: count }, testRandom(seed));

function assertNear(x: ArrayLike<number>, y: ArrayLike<number>, within: number): void {
  assert.equal(x.length, y.length);
  for (let i = 0; i < x.length; i++) assert.ok(Math.abs((x[i] ?? Number.NaN) - (y[i] ?? Number.NaN)) <= within, `${i}: ${x[i]} and ${y[i]}`);
}

describe("Inner products of rows", () => {
  for (const [p, q, n] of [
    [1, 1, 3],
    [4, 4, 5],
    [7, 10, 9],
    [8, 5, 1],
  ] as const) {
    it(`are sums of products: ${p} and ${q} rows of ${n}`, () => {
      const [x, y] = [randoms(p * n, 1), randoms(q * n, 2)];
      const plain = Float64Array.from({ length: p * q }, (_, at) => {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += (x[Math.floor(at / q) * n + k] ?? 0) * (y[(at % q) * n + k] ?? 0);
        return sum;
      });
      assertNear(rowProducts(x, p, y, q, n), plain, 1e-14);
      assertNear(gramOf(x, p, n), rowProducts(x, p, x, p, n), 1e-14);
    });
  }
});

describe("Pivoted Cholesky factors", () => {
  it("give the matrix back, and find the rank of dependent rows", () => {
    const [n, m] = [9, 20];
    const x = randoms(n * m, 3);
    // Row 4 twice row 1; row 7 the sum of rows 0 and 2.
    for (let k = 0; k < m; k++) {
      x[4 * m + k] = 2 * (x[m + k] ?? 0);
      x[7 * m + k] = (x[k] ?? 0) + (x[2 * m + k] ?? 0);
    }
    const gram = gramOf(x, n, m);
    const { pivots, lower } = pivotedCholesky(gram, n);
    assert.equal(pivots.length, 7);
    assertNear(gramOf(lower, n, 7), gram, 1e-12);
    for (const [i, row] of pivots.entries()) for (let j = i + 1; j < 7; j++) assert.equal(lower[row * 7 + j], 0);
  });

  it("of nothing but zeros have rank zero", () => assert.deepEqual(pivotedCholesky(new Float64Array(9), 3).pivots, []));
});

describe("symmetricEigen", () => {
  for (const n of [1, 2, 3, 10, 65]) {
    it(`decomposes a matrix of side ${n}`, () => {
      const gram = gramOf(randoms(n * (n + 2), n), n, n + 2);
      const { values, vectors } = symmetricEigen(gram, n);
      assertNear(
        gramOf(vectors, n, n),
        Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
        1e-12,
      );
      const scaled = vectors.map((x, at) => x * Math.sqrt(Math.max(0, values[Math.floor(at / n)] ?? 0)));
      const back = Float64Array.from({ length: n * n }, (_, at) => {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += (scaled[k * n + Math.floor(at / n)] ?? 0) * (scaled[k * n + (at % n)] ?? 0);
        return sum;
      });
      assertNear(back, gram, 1e-11);
      assert.ok(values.every((x, i) => i === 0 || x <= (values[i - 1] ?? 0)));
    });
  }

  it("knows the eigenvalues of the second difference", () => {
    const n = 12;
    const matrix = Float64Array.from({ length: n * n }, (_, at) => [2, -1][Math.abs(Math.floor(at / n) - (at % n))] ?? 0);
    const known = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos(((n - k) * Math.PI) / (n + 1)));
    assertNear(symmetricEigen(matrix, n).values, known, 1e-13);
  });

  it("survives repeated eigenvalues and zeros", () => {
    assertNear(symmetricEigen(Float64Array.of(3, 0, 0, 0, 0, 0, 0, 0, 3), 3).values, [3, 3, 0], 0);
    assertNear(symmetricEigen(new Float64Array(16), 4).values, [0, 0, 0, 0], 0);
  });
});
