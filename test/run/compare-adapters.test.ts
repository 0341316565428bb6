// What adapters have in common, against sums over elements of their dense changes.
import assert from "node:assert/strict";
import { loraDelta } from "../../merge-core/adapters/lora.ts";
import { readPeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { compareAdapters } from "../../merge-core/run/compare-adapters.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";

const ORACLES = "test/fixtures/oracles";
const [LORA, RSLORA, OFT] = [`${ORACLES}/peft/lora`, `${ORACLES}/peft/rslora`, `${ORACLES}/peft-families/oft`];
const close = (x: number | null | undefined, y: number, tolerance = 1e-5) => assert.ok(Math.abs((x ?? Number.NaN) - y) < tolerance, `${x} for ${y}`);
const dot = (x: Float64Array, y: Float64Array) => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);

describe("compareAdapters", () => {
  it("gives cosines, signs and norms of the changes, by module and in all", async () => {
    const { modules, pairs } = await compareAdapters({ adapters: [LORA, RSLORA] });
    const [a, b] = [(await readPeftLora(LORA)).modules, (await readPeftLora(RSLORA)).modules];
    let [product, x2, y2, agreeing, all] = [0, 0, 0, 0, 0];
    for (const [module, factors] of b) {
      const [x, y] = [loraDelta(a.get(module) as never), loraDelta(factors)];
      const told = modules.find((one) => one.module === module);
      close(told?.pairs[0]?.cosine, dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y)));
      close(told?.changes[1]?.norm, Math.sqrt(dot(y, y)));
      const same = x.filter((value, i) => value * (y[i] as number) > 0).length;
      close(told?.pairs[0]?.signAgreement, same / x.length, 2 / x.length);
      product += dot(x, y);
      x2 += dot(x, x);
      y2 += dot(y, y);
      agreeing += same;
      all += x.length;
    }
    assert.deepEqual([pairs.length, pairs[0]?.modules], [1, b.size]);
    close(pairs[0]?.cosine, product / Math.sqrt(x2 * y2));
    close(pairs[0]?.normRatio, Math.sqrt(y2 / x2));
    close(pairs[0]?.signAgreement, agreeing / all, 1e-3);
    assert.equal(modules.length, a.size);
  });

  it("of an adapter and itself are one, and no direction is more than the rank", async () => {
    const { modules, pairs } = await compareAdapters({ adapters: [LORA, LORA], threads: 2 });
    for (const measure of [pairs[0]?.cosine, pairs[0]?.signAgreement, pairs[0]?.normRatio]) close(measure, 1, 1e-6);
    for (const { changes } of modules)
      assert.ok(changes.every(({ effectiveRank }) => effectiveRank !== null && effectiveRank > 1 && effectiveRank <= 4 + 1e-9));
  });

  it("takes rotations by what they make of the base, which they need", async () => {
    const base = await openCheckpoint(`${ORACLES}/llama-tiny`);
    const { pairs, modules } = await compareAdapters({ adapters: [LORA, OFT], base });
    assert.ok(Math.abs(pairs[0]?.cosine ?? 1) < 1 && pairs[0]?.modules === 4, JSON.stringify(pairs));
    assert.ok(modules.some(({ changes }) => changes.some(({ adapter, effectiveRank }) => adapter === 1 && effectiveRank === null)));
    await rejectsWith("adapter-base-needed", () => compareAdapters({ adapters: [LORA, OFT] }));
  });
});
