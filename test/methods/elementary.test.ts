// exp and tanh from basic operations, against Math's in float64.
import assert from "node:assert/strict";
import { type Expr, input } from "../../merge-core/compute/expr.ts";
import { createReferenceEngine } from "../../merge-core/compute/reference.ts";
import { exp, nearTanh, tanh } from "../../merge-core/methods/elementary.ts";

const COUNT = 20_001;

/** The largest error on [-bound, bound], relative to the value, in float32's epsilon. */
function worst(formula: (x: Expr) => Expr, exact: (x: number) => number, bound: number): number {
  const xs = Float32Array.from({ length: COUNT }, (_, i) => bound * ((2 * i) / (COUNT - 1) - 1));
  const engine = createReferenceEngine({ name: "x", shape: [COUNT], seed: 0, inputs: [xs] });
  const errors = engine.write(formula(input(0))).map((y, i) => Math.abs(y - exact(xs[i] as number)) / Math.abs(exact(xs[i] as number) || 1));
  return errors.reduce((most, error) => Math.max(most, error)) / 2 ** -23;
}

describe("elementary functions", () => {
  it("exp is right to the roundings of its squarings", () => {
    for (const largest of [0.25, 0.5, 1, 3, 8, 20]) {
      const halvings = Math.max(0, Math.ceil(Math.log2(largest / 0.5)));
      assert.ok(worst((x) => exp(x, largest), Math.exp, largest) < 2 * 2 ** halvings, `up to ${largest}`);
    }
  });

  it("tanh is right everywhere, its short form up to 1", () => {
    for (const bound of [1e-6, 0.1, 1]) assert.ok(worst(nearTanh, Math.tanh, bound) < 2, `short, up to ${bound}`);
    for (const bound of [1e-6, 0.6]) assert.ok(worst(tanh, Math.tanh, bound) < 2, `up to ${bound}`);
    // By an exponential of six squarings.
    for (const bound of [5, 40]) assert.ok(worst(tanh, Math.tanh, bound) < 32, `up to ${bound}`);
  });
});
