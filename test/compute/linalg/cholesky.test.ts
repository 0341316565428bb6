import assert from "node:assert/strict";
import { cholesky, solveRow } from "../../../merge-core/compute/linalg/cholesky.ts";
import { randomKey, uniforms } from "../../../merge-core/compute/rng.ts";

const SIZE = 37;

/** R^T R + 0.01 I for a random R. */
function definite(): Float64Array {
  const r = uniforms(randomKey(5, "cholesky"), { model: 0, purpose: 0 }, 0, SIZE * SIZE).map((u) => 2 * u - 1);
  const s = new Float64Array(SIZE * SIZE);
  for (let i = 0; i < SIZE; i++)
    for (let j = 0; j < SIZE; j++) {
      let sum = i === j ? 0.01 : 0;
      for (let k = 0; k < SIZE; k++) sum += (r[k * SIZE + i] ?? 0) * (r[k * SIZE + j] ?? 0);
      s[i * SIZE + j] = sum;
    }
  return s;
}

describe("cholesky", () => {
  it("of [[4, 2], [2, 5]] is [[2, 0], [1, 2]], and the part above the diagonal stays", () => {
    const s = Float64Array.of(4, 2, 2, 5);
    assert.ok(cholesky(s, 2));
    assert.deepEqual([...s], [2, 2, 1, 2]);
  });

  it("solves y S = x to float64 rounding", () => {
    const s = definite();
    const y = Float64Array.from({ length: SIZE }, (_, i) => Math.sin(i));
    const x = Float64Array.from(y, (_, j) => y.reduce((sum, value, i) => sum + value * (s[i * SIZE + j] as number), 0));
    assert.ok(cholesky(s, SIZE));
    solveRow(s, SIZE, x);
    for (const [i, value] of x.entries()) assert.ok(Math.abs(value - (y[i] as number)) < 1e-10, `${i}: ${value}`);
  });

  it("refuses matrices that are singular, indefinite or not numbers", () => {
    for (const s of [
      [1, 1, 1, 1],
      [1, 2, 2, 1],
      [0, 0, 0, 0],
      [Number.NaN, 0, 0, 1],
    ])
      assert.equal(cholesky(Float64Array.from(s), 2), false);
  });
});
