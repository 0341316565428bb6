// Fused operations beside torch's: values and gradients (test/oracles/nn_goldens.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { gelu, layerNorm, loraLinear } from "../../merge-core/nn/ops.ts";

type Numbers = number[] | number[][];

interface Golden {
  readonly inputs: readonly Numbers[];
  readonly weights: readonly Numbers[];
  readonly value: readonly Numbers[];
  readonly gradients: readonly Numbers[];
}

const OPERATIONS: Readonly<Record<string, (...inputs: tf.Tensor[]) => tf.Tensor>> = {
  layerNorm: (x, weight, bias) => layerNorm(x as tf.Tensor2D, weight as tf.Tensor1D, bias as tf.Tensor1D, 1e-5),
  gelu: (x) => gelu(x as tf.Tensor2D),
  loraLinear: (x, weight, a, b) => loraLinear(x as tf.Tensor2D, weight as tf.Tensor2D, a as tf.Tensor2D, b as tf.Tensor2D, 0.75),
};

describe("fused operations beside torch", () => {
  const golden = JSON.parse(readFileSync("test/fixtures/oracles/nn/golden.json", "utf8")) as Record<string, Golden>;
  for (const [name, operation] of Object.entries(OPERATIONS))
    it(name, async () => {
      await initBackend({ threads: 2 });
      const { inputs, weights, value, gradients } = golden[name] as Golden;
      tf.tidy(() => {
        const tensors = inputs.map((input) => tf.tensor(input));
        const [factor] = weights.map((input) => tf.tensor(input)) as [tf.Tensor];
        const found = [operation(...tensors), ...tf.grads((...all: tf.Tensor[]) => tf.sum(tf.mul(operation(...all), factor)))(tensors)];
        for (const [i, expected] of [...value, ...gradients].entries())
          for (const [at, x] of (expected as number[]).flat().entries()) {
            const y = found[i]?.dataSync()[at] as number;
            assert.ok(Math.abs(x - y) <= 5e-6 * Math.max(1, Math.abs(x)), `result ${i}, element ${at}: ${y}, torch has ${x}`);
          }
      });
    });
});
