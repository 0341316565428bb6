import assert from "node:assert/strict";
import { normals, permutation, uniforms } from "../../merge-core/nn/random.ts";

describe("random numbers", () => {
  it("stay what they were, so that a seed keeps giving the same run", () => {
    assert.deepEqual([...uniforms(7, "rows/0", 5)], [0.3900776198133826, 0.5940251622814685, 0.9086928677279502, 0.46692676353268325, 0.12342305178754032]);
  });

  it("are uniform, and differ by seed and stream", () => {
    const u = uniforms(1, "a", 40000);
    const mean = u.reduce((sum, x) => sum + x, 0) / u.length;
    // Six standard deviations of the mean of so many.
    assert.ok(Math.abs(mean - 0.5) < (6 * Math.sqrt(1 / 12)) / 200, `mean ${mean}`);
    assert.ok(u.every((x) => x >= 0 && x < 1));
    assert.notDeepEqual(u.slice(0, 4), uniforms(2, "a", 4));
    assert.notDeepEqual(u.slice(0, 4), uniforms(1, "b", 4));
    assert.notDeepEqual(u.slice(0, 4), uniforms(1 + 2 ** 32, "a", 4));
    assert.deepEqual(u.slice(0, 4), uniforms(1, "a", 4));
  });

  it("are normal with mean 0 and variance 1", () => {
    const z = normals(3, "z", 40000);
    const mean = z.reduce((sum, x) => sum + x, 0) / z.length;
    const variance = z.reduce((sum, x) => sum + x * x, 0) / z.length;
    assert.ok(Math.abs(mean) < 6 / 200, `mean ${mean}`);
    assert.ok(Math.abs(variance - 1) < (6 * Math.SQRT2) / 200, `variance ${variance}`);
  });

  it("permute without loss", () => {
    const order = permutation(4, "p", 100);
    assert.deepEqual(
      [...order].sort((a, b) => a - b),
      Array.from({ length: 100 }, (_, i) => i),
    );
    assert.notDeepEqual(order, permutation(5, "p", 100));
  });
});
