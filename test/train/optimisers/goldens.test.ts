// Steps of optimisers beside their authors' code and papers' formulas (test/oracles/optimizer_goldens.py), which drew the same parameters
// and gradients.
import assert from "node:assert/strict";
import { adamRule } from "../../../merge-core/train/optimisers/adam-direction.ts";
import { adamW8bitRule } from "../../../merge-core/train/optimisers/adamw-8bit.ts";
import { apolloRule } from "../../../merge-core/train/optimisers/apollo.ts";
import { dynamicMap } from "../../../merge-core/train/optimisers/dynamic-map.ts";
import { frugalRule } from "../../../merge-core/train/optimisers/frugal.ts";
import { galoreRule } from "../../../merge-core/train/optimisers/galore.ts";
import { lionRule } from "../../../merge-core/train/optimisers/lion.ts";
import { mezoStep } from "../../../merge-core/train/optimisers/mezo.ts";
import type { Rule, State } from "../../../merge-core/train/optimisers/rule.ts";
import { testRandom } from "../../helpers/tiny-decoder.ts";
import { readTensors, type StoredTensor, valuesOf } from "../../oracles/read-tensors.ts";

const ADAM = { betas: [0.9, 0.999], eps: 1e-8 } as const;
const [STEPS, LR, SEED] = [6, 0.01, 7];
const SIZES = [1, 2, 0.5, 3, 1, 1];
const RANDOM = { ...ADAM, updateEvery: 100 };

interface Case {
  readonly shape: readonly number[];
  readonly rule: Rule;
  readonly weightDecay?: number;
}

const CASES: Readonly<Record<string, Case>> = {
  adamw: { shape: [12, 20], rule: adamRule(ADAM), weightDecay: 0.1 },
  lion: { shape: [12, 20], rule: lionRule({ betas: [0.9, 0.99] }), weightDecay: 0.1 },
  "galore-wide": { shape: [12, 20], rule: galoreRule({ ...RANDOM, rank: 5, scale: 0.25 }) },
  "galore-tall": { shape: [20, 12], rule: galoreRule({ ...RANDOM, rank: 5, scale: 0.25 }) },
  "apollo-channel-wide": { shape: [12, 20], rule: apolloRule({ ...RANDOM, rank: 4, scale: 1, scaleBy: "channel" }) },
  "apollo-channel-tall": { shape: [20, 12], rule: apolloRule({ ...RANDOM, rank: 4, scale: 1, scaleBy: "channel" }) },
  "apollo-channel-square": { shape: [12, 12], rule: apolloRule({ ...RANDOM, rank: 4, scale: 1, scaleBy: "channel" }) },
  "apollo-tensor": { shape: [12, 20], rule: apolloRule({ ...RANDOM, rank: 1, scale: 128, scaleBy: "tensor" }) },
  frugal: { shape: [12, 20], rule: frugalRule({ ...ADAM, density: 0.25, updateEvery: 4, signRate: 0.5 }), weightDecay: 0.1 },
};

function draw(seed: number, size: number): Float32Array {
  const random = testRandom(seed);
  return Float32Array.from({ length: size }, () => random());
}

/** The parameter after each step, and the state after the last. */
function follow({ shape, rule, weightDecay = 0 }: Case): { seen: Float32Array[]; state: State } {
  const size = shape.reduce((product, n) => product * n, 1);
  const parameter = { name: "w", shape, size };
  const [theta, state] = [draw(1, size), rule.start(parameter)];
  const seen = Array.from({ length: STEPS }, (_, i) => {
    const gradient = draw(101 + i, size).map((x) => x * (SIZES[i] as number));
    rule.step(theta, gradient, state, parameter, { lr: LR, weightDecay, step: i + 1, seed: SEED });
    return theta.slice();
  });
  return { seen, state };
}

const differences = (found: ArrayLike<number>, expected: ArrayLike<number>): number[] => {
  assert.equal(found.length, expected.length);
  return Array.from(found, (x, i) => Math.abs(x - (expected[i] as number)));
};

describe("steps of optimisers beside their authors' code", () => {
  let stored: Map<string, StoredTensor>;
  before(async () => {
    stored = await readTensors("test/fixtures/oracles/optimizers/steps.safetensors");
  });
  const golden = (name: string): Float32Array => valuesOf(stored.get(name));

  for (const [name, test] of Object.entries(CASES))
    it(name, () => {
      const { seen } = follow(test);
      // A step is about LR long; the norms of APOLLO's few rows are rounded on both sides.
      for (const step of [1, STEPS]) {
        const worst = Math.max(...differences(seen[step - 1] ?? [], golden(`${name}/${step}`)));
        assert.ok(worst < 5e-6, `step ${step}: ${worst}`);
      }
    });

  it("adamw_8bit: codes, and all but the few parameters whose codes lie between two", () => {
    for (const [kind, map] of [
      ["signed", dynamicMap(true)],
      ["unsigned", dynamicMap(false)],
    ] as const)
      for (const [code, value] of golden(`map/${kind}`).entries())
        assert.ok(Math.abs(value - (map[code] as number)) <= 1e-6 * Math.abs(value), `${kind} ${code}: ${map[code]} is not ${value}`);
    const { seen, state } = follow({ shape: [64, 64], rule: adamW8bitRule(ADAM), weightDecay: 0.1 });
    assert.ok(Math.max(...differences(seen[0] ?? [], golden("adamw_8bit/1"))) < 1e-6);
    const off = differences(seen[STEPS - 1] ?? [], golden("adamw_8bit/6"));
    assert.ok(off.filter((x) => x > 1e-6).length <= 4096 / 200, `${off.filter((x) => x > 1e-6).length} of 4096 differ`);
    for (const kind of ["m", "v"]) {
      const codes = differences(state[kind] ?? [], stored.get(`adamw_8bit/${kind}`)?.data ?? []);
      assert.ok(Math.max(...codes) <= 1 && codes.filter((x) => x > 0).length <= 4096 / 200, `${kind}: ${codes.filter((x) => x > 0).length} codes differ`);
    }
  });

  for (const [name, sparsity] of [
    ["mezo", 0],
    ["mezo-sparse", 0.75],
  ] as const)
    it(name, () => {
      const [theta, target] = [draw(1, 40), draw(2, 40)];
      const lossOf = () => theta.reduce((sum, x, i) => sum + (x - (target[i] as number)) ** 2 / 2, 0);
      for (let step = 1; step <= STEPS; step++) {
        mezoStep(new Map([["w", theta]]), lossOf, { distance: 1e-2, sparsity, seed: SEED, step, lr: LR, weightDecay: 0, rateOf: () => 1 });
        if (step !== 1 && step !== STEPS) continue;
        // The difference of two losses, each of parameters that were rounded.
        const worst = Math.max(...differences(theta, golden(`${name}/${step}`)));
        assert.ok(worst < 2e-5, `step ${step}: ${worst}`);
      }
    });
});
