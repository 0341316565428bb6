import assert from "node:assert/strict";
import type { LowRank } from "../../merge-core/adapters/family.ts";
import { type Factors, normOf, reduceRank, relativeDistance, stack, stackedFactors } from "../../merge-core/adapters/low-rank.ts";
import { gramOf } from "../../merge-core/compute/linalg/gram.ts";
import { plainSpace } from "../../merge-core/compute/linalg/plain-space.ts";
import { svdAtOnce } from "../../merge-core/compute/linalg/svd.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

const [IN, OUT] = [14, 11];

function factors(r: number, seed: number, scale = 1): LowRank {
  const random = testRandom(seed);
  const values = (count: number) => Float64Array.from({ length: count }, () => random());
  return { r, inFeatures: IN, outFeatures: OUT, a: values(r * IN), b: values(OUT * r), scale };
}

function dense({ a, bt, r }: Factors): Float64Array {
  return Float64Array.from({ length: OUT * IN }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < r; k++) sum += (bt[k * OUT + Math.floor(at / IN)] ?? 0) * (a[k * IN + (at % IN)] ?? 0);
    return sum;
  });
}

const norm = (x: Float64Array) => Math.hypot(...x);
const minus = (x: Float64Array, y: Float64Array) => x.map((value, i) => value - (y[i] ?? 0));

describe("Sums of low-rank products", () => {
  const terms = [
    { factors: factors(2, 1, 0.5), weight: 2 },
    { factors: factors(3, 2, 3), weight: -0.4 },
    { factors: factors(2, 3), weight: 1 },
  ];
  const sum = stack(terms);

  it("are exact when stacked, in any order", () => {
    const plain = new Float64Array(OUT * IN);
    for (const { factors: f, weight } of terms)
      for (let at = 0; at < plain.length; at++)
        for (let k = 0; k < f.r; k++)
          plain[at] = (plain[at] ?? 0) + weight * f.scale * (f.b[Math.floor(at / IN) * f.r + k] ?? 0) * (f.a[k * IN + (at % IN)] ?? 0);
    assert.ok(norm(minus(dense(sum), plain)) < 1e-14 * norm(plain) * 10);
    assert.ok(norm(minus(dense(stack(terms.toReversed())), plain)) < 1e-13 * norm(plain));
    assert.ok(Math.abs(normOf(sum) - norm(plain)) < 1e-13 * norm(plain));
  });

  it("are the same as a file holds them, each number rounded once", () => {
    const { a, b } = stackedFactors(terms);
    assert.deepEqual(a, Float32Array.from(sum.a));
    assert.deepEqual(
      b,
      Float32Array.from({ length: OUT * sum.r }, (_, at) => sum.bt[(at % sum.r) * OUT + Math.floor(at / sum.r)] ?? 0),
    );
  });

  for (const rank of [1, 3, 5]) {
    it(`are cut to rank ${rank} as well as can be, with the error told`, () => {
      const reduced = reduceRank(sum, rank);
      const matrix = { rows: OUT, columns: IN, data: Float32Array.from(dense(sum)) };
      const { values } = svdAtOnce(plainSpace(), matrix);
      const best = Math.hypot(...values.slice(rank)) / Math.hypot(...values);
      const error = norm(minus(dense(reduced), dense(sum))) / norm(dense(sum));
      assert.ok(Math.abs(error - best) < 1e-6, `${error} and ${best}`);
      assert.ok(Math.abs(reduced.relativeError - error) < 1e-7);
      assert.ok(Math.abs(relativeDistance(reduced, sum) - error) < 1e-7);
      const gram = gramOf(reduced.a, rank, IN);
      for (let i = 0; i < rank * rank; i++) assert.ok(Math.abs((gram[i] ?? 0) - (i % (rank + 1) === 0 ? 1 : 0)) < 1e-12);
    });
  }

  it("are kept whole by any rank that is enough, rows beyond it being zero", () => {
    const reduced = reduceRank(sum, 9);
    assert.ok(norm(minus(dense(reduced), dense(sum))) < 1e-12 * norm(dense(sum)));
    assert.equal(reduced.relativeError, 0);
    assert.ok(reduced.a.subarray(7 * IN).every((x) => x === 0) && reduced.bt.subarray(7 * OUT).every((x) => x === 0));
  });

  it("see that an adapter merged with itself has its own rank, and that it can cancel itself out", () => {
    const one = factors(3, 7);
    const twice = stack([
      { factors: one, weight: 0.3 },
      { factors: one, weight: 0.7 },
    ]);
    const reduced = reduceRank(twice, 3);
    assert.ok(reduced.relativeError < 1e-9);
    assert.ok(norm(minus(dense(reduced), dense(stack([{ factors: one, weight: 1 }])))) < 1e-12);
    const none = reduceRank(
      stack([
        { factors: one, weight: 1 },
        { factors: one, weight: -1 },
      ]),
      3,
    );
    assert.ok(norm(dense(none)) < 1e-12);
  });
});
