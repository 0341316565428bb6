// The assignment solver against all permutations.
import assert from "node:assert/strict";
import { assign, assignSteps, gainOf } from "../../merge-core/align/assignment.ts";
import { inTurns, turns } from "../../merge-core/compute/linalg/steps.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

function* permutations(n: number): Generator<number[]> {
  if (n === 0) yield [];
  else for (const rest of permutations(n - 1)) for (let at = 0; at < n; at++) yield [...rest.slice(0, at), n - 1, ...rest.slice(at)];
}

describe("assign", () => {
  it("finds the best of all permutations", () => {
    for (let n = 1; n <= 6; n++)
      for (let seed = 0; seed < 20; seed++) {
        const random = testRandom(100 * n + seed);
        const gain = Float64Array.from({ length: n * n }, () => (seed % 2 === 0 ? random() : Math.round(3 * random())));
        const best = Math.max(...[...permutations(n)].map((order) => gainOf(gain, Int32Array.from(order))));
        const found = assign(gain, n);
        assert.deepEqual([...found].sort(), [...found.keys()], "a permutation");
        assert.ok(Math.abs(gainOf(gain, found) - best) < 1e-12, `n ${n} seed ${seed}`);
      }
  });

  it("finds a hidden permutation of 300 at once", () => {
    const n = 300;
    const random = testRandom(7);
    const hidden = Int32Array.from({ length: n }, (_, i) => (i * 7 + 5) % n);
    const gain = Float64Array.from({ length: n * n }, () => random());
    for (let i = 0; i < n; i++) gain[i * n + (hidden[i] as number)] = 1.5;
    assert.deepEqual(assign(gain, n), hidden);
  });

  it("takes one, none, and gains that are all equal", () => {
    assert.deepEqual([...assign(new Float64Array(0), 0)], []);
    assert.deepEqual([...assign(Float64Array.of(-3), 1)], [0]);
    assert.deepEqual([...assign(new Float64Array(9), 3)].sort(), [0, 1, 2]);
  });

  it("gives up soon after the signal", async () => {
    const n = 1500;
    // The product of rows and columns is what takes longest: all want the same columns.
    const gain = new Float64Array(n * n).map((_, i) => Math.floor(i / n) * (i % n));
    const stop = new AbortController();
    let at = Number.NaN;
    setTimeout(() => {
      at = performance.now();
      stop.abort();
    }, 200);
    await rejectsWith("cancelled", () => inTurns(assignSteps(gain, n), turns(stop.signal)));
    assert.ok(performance.now() - at < 1000);
  });
});
