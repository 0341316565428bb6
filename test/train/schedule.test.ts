import assert from "node:assert/strict";
import { planBatches } from "../../merge-core/train/batches.ts";
import { learningRate } from "../../merge-core/train/schedule.ts";

const near = (actual: number, expected: number) => assert.ok(Math.abs(actual - expected) < 1e-12, `${actual} is not ${expected}`);

describe("learning rate", () => {
  const schedule = { peak: 2, warmupSteps: 4, totalSteps: 12, floor: 0.1 };
  it("rises in equal steps to the peak", () => {
    for (const [step, rate] of [
      [1, 0.5],
      [2, 1],
      [4, 2],
    ] as const)
      near(learningRate(schedule, step), rate);
  });
  it("falls along a cosine to the floor", () => {
    near(learningRate(schedule, 8), 2 * (0.1 + 0.9 * 0.5));
    near(learningRate(schedule, 6), 2 * (0.1 + 0.9 * 0.5 * (1 + Math.SQRT1_2)));
    near(learningRate(schedule, 12), 0.2);
  });
  it("starts at the peak without warm-up and stays there with a floor of one", () => {
    for (const step of [1, 5, 9]) near(learningRate({ peak: 3, warmupSteps: 0, totalSteps: 9, floor: 1 }, step), 3);
  });
});

describe("batches", () => {
  const rows = Array.from({ length: 203 }, (_, i) => ({ tokens: Array.from({ length: 2 + (i % 9) }, () => i), lossFrom: 1 }));
  const config = { batchSize: 4, gradientAccumulation: 2, seed: 5, length: { epochs: 2 } };

  it("show every row once per epoch, in another order each time", () => {
    const plan = planBatches(config, rows);
    assert.equal(plan.totalSteps, 52);
    const epoch = (first: number) =>
      Array.from({ length: 26 }, (_, i) => plan.ofStep(first + i))
        .flat(2)
        .map((row) => row.tokens[0]);
    const [one, two] = [epoch(1), epoch(27)];
    assert.deepEqual(new Set(one).size, 203);
    assert.deepEqual(new Set(two).size, 203);
    assert.notDeepEqual(one, two);
  });

  it("depend on seed and step alone", () => {
    const [a, b] = [planBatches(config, rows), planBatches(config, rows)];
    a.ofStep(1);
    assert.deepEqual(a.ofStep(30), b.ofStep(30));
    assert.notDeepEqual(planBatches({ ...config, seed: 6 }, rows).ofStep(30), b.ofStep(30));
  });

  it("sort rows by length inside a step and mix lengths across steps", () => {
    const plan = planBatches(config, rows);
    const lengths = (step: number) => plan.ofStep(step).map((batch) => batch.map((row) => row.tokens.length));
    const [short = [], long = []] = lengths(1);
    assert.equal(short.length, 4);
    assert.ok(Math.max(...short) <= Math.min(...long));
    const spreads = Array.from({ length: 25 }, (_, i) => lengths(i + 1).flat()).map((all) => Math.max(...all) - Math.min(...all));
    assert.ok(Math.min(...spreads) >= 3, `some step has rows of nearly one length: ${spreads}`);
  });
});
