import assert from "node:assert/strict";
import { type AdamWSettings, adamwStep, sumSquares } from "../../merge-core/compute/adamw.ts";
import { createPool } from "../../merge-core/compute/pool.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

interface State {
  readonly param: number[];
  readonly m: number[];
  readonly v: number[];
}

/** The algorithm of the paper as torch writes it, in float64. */
function reference(state: State, grad: readonly number[], s: Required<AdamWSettings>): State {
  const m = state.m.map((x, i) => s.beta1 * x + (1 - s.beta1) * grad[i]! * s.gradScale);
  const v = state.v.map((x, i) => s.beta2 * x + (1 - s.beta2) * (grad[i]! * s.gradScale) ** 2);
  const param = state.param.map((p, i) => {
    const mean = m[i]! / (1 - s.beta1 ** s.step);
    const square = v[i]! / (1 - s.beta2 ** s.step);
    return p * (1 - s.lr * s.weightDecay) - (s.lr * mean) / (Math.sqrt(square) + s.eps);
  });
  return { param, m, v };
}

const floats = (count: number, seed: number): number[] => {
  const random = testRandom(seed);
  return Array.from({ length: count }, () => Math.fround(random()));
};

/** Parameters, moments and squares of gradients after `steps` steps on `threads` threads. */
async function run(threads: number, size: number, steps: readonly AdamWSettings[]): Promise<{ state: State; squares: number[] }> {
  const pool = createPool({ threads });
  const [param = 0, grad = 0, m = 0, v = 0] = Array.from({ length: 4 }, () => pool.arena.alloc(size * 4));
  const view = (address: number) => new Float32Array(pool.memory.buffer, address, size);
  view(param).set(floats(size, 1));
  view(m).fill(0);
  view(v).fill(0);
  const squares = steps.map((settings) => {
    view(grad).set(floats(size, settings.step + 1));
    adamwStep(pool, { param, grad, m, v, size }, settings);
    return sumSquares(pool, grad, size);
  });
  const state = { param: [...view(param)], m: [...view(m)], v: [...view(v)] };
  await pool.close();
  return { state, squares };
}

const settings = (step: number): Required<AdamWSettings> => ({ lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, step, gradScale: 0.5 });

describe("AdamW", () => {
  it("follows the formulas in float64 for five steps", async () => {
    const size = 1003;
    const steps = [1, 2, 3, 4, 5].map(settings);
    const { state, squares } = await run(1, size, steps);
    const zeros = new Array<number>(size).fill(0);
    const expected = steps.reduce((s, step) => reference(s, floats(size, step.step + 1), step), { param: floats(size, 1), m: zeros, v: zeros });
    for (const key of ["param", "m", "v"] as const) {
      const worst = Math.max(...state[key].map((x, i) => Math.abs(x - expected[key][i]!)));
      assert.ok(worst <= 5e-7, `${key} off by ${worst}`);
    }
    const exact = floats(size, 6).reduce((sum, g) => sum + g * g, 0);
    assert.ok(Math.abs(squares[4]! - exact) <= 1e-12 * exact);
  });

  it("scales gradients by 1 unless told otherwise", async () => {
    const { gradScale: _, ...plain } = settings(1);
    assert.deepEqual(await run(1, 40, [plain]), await run(1, 40, [{ ...plain, gradScale: 1 }]));
  });

  it("gives the same bits on one, two and three threads", async () => {
    const one = await run(1, 200_003, [settings(1)]);
    for (const threads of [2, 3]) assert.deepEqual(await run(threads, 200_003, [settings(1)]), one);
  });

  it("sums nothing to zero", async () => {
    const pool = createPool({ threads: 1 });
    assert.equal(sumSquares(pool, pool.arena.alloc(4), 0), 0);
    await pool.close();
  });
});
