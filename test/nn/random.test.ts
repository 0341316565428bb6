import assert from "node:assert/strict";
import { normals, permutation, philox, uniforms } from "../../merge-core/nn/random.ts";

describe("random numbers", () => {
  // The three known answers of the Random123 library (kat_vectors, philox 4x32 10).
  const KNOWN = [
    { counter: [0, 0, 0, 0], key: [0, 0], words: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8] },
    { counter: [-1, -1, -1, -1], key: [-1, -1], words: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd] },
    { counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], key: [0xa4093822, 0x299f31d0], words: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1] },
  ] as const;
  for (const { counter, key, words } of KNOWN) it(`are Philox's for counter ${counter[0]}`, () => assert.deepEqual(philox(counter, key), [...words]));

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
