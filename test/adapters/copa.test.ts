// CoPA-Merging in its two forms, and averages of checkpoints.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type CombineOptions, combine, combinedRank } from "../../merge-core/adapters/combine.ts";
import { plainSpace } from "../../merge-core/compute/linalg/plain-space.ts";
import { near } from "../helpers/near.ts";

interface Golden {
  readonly rank: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly adapters: readonly { readonly a: number[]; readonly b: number[] }[];
  readonly paper: number[];
  readonly released: number[];
}
const golden = JSON.parse(readFileSync("test/fixtures/oracles/copa/golden.json", "utf8")) as Golden;

interface Adapter {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly weight: number;
  readonly scale?: number;
}

async function merge(
  method: CombineOptions["method"],
  adapters: readonly Adapter[],
  { r, inFeatures, outFeatures, density = 1 }: { r: number; inFeatures: number; outFeatures: number; density?: number },
) {
  const terms = adapters.map(({ a, b, weight, scale = 1 }, index) => ({
    factors: { r, inFeatures, outFeatures, scale, a: Float64Array.from(a), b: Float64Array.from(b) },
    weight,
    index,
  }));
  const ranks = adapters.map(() => r);
  const rank = combinedRank(method, ranks, undefined, [inFeatures, outFeatures]);
  const merged = await combine(terms, { method, rank, density, majority: "total", seed: 0, module: "m", space: plainSpace() });
  const product = Array.from({ length: outFeatures * inFeatures }, (_, at) => {
    const [o, i] = [Math.floor(at / inFeatures), at % inFeatures];
    let sum = 0;
    for (let q = 0; q < merged.r; q++) sum += (merged.bt[q * outFeatures + o] as number) * (merged.a[q * inFeatures + i] as number);
    return sum;
  });
  return { ...merged, product };
}

describe("CoPA-Merging", () => {
  const shape = { r: golden.rank, inFeatures: golden.inputs, outFeatures: golden.outputs, density: 0.2 };
  const adapters = golden.adapters.map((adapter) => ({ ...adapter, weight: 2 }));

  it("agrees with the paper's formula and with the released steps, which differ", async () => {
    const [paper, released] = [await merge("copa", adapters, shape), await merge("copa_released", adapters, shape)];
    near(paper.product, golden.paper, 1e-12);
    near(released.product, golden.released, 1e-12);
    assert.deepEqual([paper.r, released.r], [3 * golden.rank, golden.rank]);
    assert.ok(Math.abs((golden.paper[0] ?? 0) - (golden.released[0] ?? 0)) > 1e-3);
  });

  it("folds the adapters' scales into B", async () => {
    const scaled = adapters.map(({ a, b, weight }) => ({ a, b: b.map((x) => x / 4), weight, scale: 4 }));
    near((await merge("copa", scaled, shape)).product, golden.paper, 1e-12);
  });

  it("of one adapter that is not pruned is that adapter; of equal ones too, whatever their number", async () => {
    const one = { a: [1, 2, 3, 4], b: [1, -1, 2, 0], weight: 1 };
    const plain = [1 * 1 - 1 * 3, 1 * 2 - 1 * 4, 2 * 1, 2 * 2];
    const size = { r: 2, inFeatures: 2, outFeatures: 2 };
    near((await merge("copa", [one], size)).product, plain, 1e-12);
    near((await merge("copa", [one, one, one], size)).product, plain, 1e-12);
    near((await merge("copa_released", [one], size)).product, plain, 1e-12);
  });

  it("survives rows that are pruned away, and adapters of zeros", async () => {
    const uneven = { a: [100, 200, 1, 1], b: [1, 1, 1, 1], weight: 2 };
    const zeros = { a: [0, 0, 0, 0], b: [0, 0, 0, 0], weight: 2 };
    for (const method of ["copa", "copa_released"] as const)
      for (const set of [[uneven, uneven], [uneven, zeros], [zeros]])
        assert.ok((await merge(method, set, { r: 2, inFeatures: 2, outFeatures: 2, density: 0.5 })).product.every(Number.isFinite));
  });
});

describe("averages of factors", () => {
  it("are the products of the means, not the means of the products, and tell the distance", async () => {
    const [x, y] = [
      { a: [1, 0], b: [1, 0], weight: 0.25 },
      { a: [3, 4], b: [1, 2], weight: 0.75 },
    ];
    const merged = await merge("average", [x, y], { r: 1, inFeatures: 2, outFeatures: 2 });
    // Means: A (2.5, 3), B (1, 1.5).
    near(merged.product, [2.5, 3, 3.75, 4.5], 1e-12);
    assert.ok(merged.relativeError > 0.01);
  });

  it("of equal checkpoints are the checkpoint", async () => {
    const same = { a: [1, 2], b: [3, 4], weight: 0.5, scale: 2 };
    const merged = await merge("average", [same, same], { r: 1, inFeatures: 2, outFeatures: 2 });
    near(merged.product, [6, 12, 8, 16], 1e-12);
    assert.ok(merged.relativeError < 1e-7);
  });
});
