import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { type Decoder, type LowRank, modulePath, PROJECTIONS } from "../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder } from "../../merge-core/nn/load.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { liveValues } from "../../merge-core/nn/storage.ts";
import { stepGradients } from "../../merge-core/train/gradients.ts";
import { TINY_GPT2, testRandom, tinyConfig, tinyTensors } from "../helpers/tiny-decoder.ts";

const ROWS = [
  { tokens: [1, 4, 5, 6, 7, 2], lossFrom: 3 },
  { tokens: [1, 9, 3, 2], lossFrom: 1 },
  { tokens: [1, 16, 16, 4, 4, 8, 8, 2], lossFrom: 5 },
];

/** With float32 losses near 3, this step makes the errors of rounding and of curvature about equally small. */
const STEP = 4e-3;

describe("gradients", () => {
  before(() => initBackend({ threads: 1 }));

  const variants = {
    "untied, grouped queries": {},
    "tied head": { tie_word_embeddings: true },
    "all biases": { attention_bias: true, mlp_bias: true },
    "GPT-2": TINY_GPT2,
    "sliding window": { architectures: ["MistralForCausalLM"], sliding_window: 3 },
  };
  for (const [name, changes] of Object.entries(variants)) {
    it(`equal finite differences for every weight: ${name}`, () => {
      const config = tinyConfig(changes);
      const model = createDecoder(config, tinyTensors(config, 11), "test");
      checkEach(model, model.weights);
      disposeDecoder(model);
    });
  }

  for (const changes of [{}, { attention_bias: true, tie_word_embeddings: true }, TINY_GPT2]) {
    it(`are the same to the bit, and less is held, where blocks are computed once more: ${JSON.stringify(changes)}`, () => {
      const config = tinyConfig({ ...changes, num_hidden_layers: 4, n_layer: 4 });
      const model = createDecoder(config, tinyTensors(config, 11), "test");
      const table = ropeTable(config, 8);
      const tensors = tf.memory().numTensors;
      const held: number[] = [];
      const watch = (name: string, y: tf.Tensor2D) => {
        if (/model\.norm|ln_f/.test(name)) held.push(tf.memory().numBytes);
        return y;
      };
      const both = [model, { ...model, recompute: model.weights }];
      const [plain, again] = both.map((decoder) => stepGradients(model.weights, [ROWS], () => ({ ...decoder, watch }), table));
      assert.equal(again?.loss, plain?.loss);
      for (const name of model.weights.keys()) {
        const [a, b] = [plain, again].map((result) => liveValues(result?.gradients.get(name) as tf.Tensor));
        assert.deepEqual(b, a, name);
      }
      assert.ok((held[1] ?? 0) < (held[0] ?? 0), held.join());
      for (const result of [plain, again]) tf.dispose([...(result?.gradients.values() ?? [])]);
      assert.equal(tf.memory().numTensors, tensors);
      disposeDecoder(model);
    });
  }

  it("equal finite differences for both factors of LoRA on every projection", () => {
    const config = tinyConfig();
    const base = createDecoder(config, tinyTensors(config, 12), "test");
    const lora = new Map(PROJECTIONS.map((projection) => [modulePath(1, projection), randomFactors(base, modulePath(1, projection))]));
    const model = { ...base, lora };
    checkEach(
      model,
      new Map(
        [...lora].flatMap(([module, { a, b }]): [string, tf.Tensor][] => [
          [`${module}.A`, a],
          [`${module}.B`, b],
        ]),
      ),
    );
    disposeDecoder(model);
  });
});

function randomFactors(base: Decoder, module: string): LowRank {
  const [outFeatures = 0, inFeatures = 0] = base.weights.get(`${module}.weight`)?.shape ?? [];
  const random = testRandom(module.length);
  const values = (size: number) => Float32Array.from({ length: size }, () => random() / 2);
  return { a: tf.tensor2d(values(3 * inFeatures), [3, inFeatures]), b: tf.tensor2d(values(3 * outFeatures), [outFeatures, 3]), scale: 1.5 };
}

/** Compares, for each tensor, the slope along a random direction of all its elements with the gradient's. */
function checkEach(model: Decoder, parameters: ReadonlyMap<string, tf.Tensor>): void {
  const table = ropeTable(model.config, 8);
  const lossNow = () => {
    const { loss, gradients } = stepGradients(parameters, [ROWS], () => model, table);
    tf.dispose([...gradients.values()]);
    return loss;
  };
  const { gradients } = stepGradients(parameters, [ROWS.slice(0, 2), ROWS.slice(2)], () => model, table);
  const random = testRandom(99);
  for (const [name, parameter] of parameters) {
    const direction = Float32Array.from({ length: parameter.size }, () => random());
    const slope = liveValues(gradients.get(name) as tf.Tensor).reduce((sum, g, i) => sum + g * (direction[i] ?? 0), 0);
    const start = liveValues(parameter).slice();
    const lossAt = (distance: number) => {
      liveValues(parameter).set(start.map((value, i) => value + distance * (direction[i] ?? 0)));
      return lossNow();
    };
    const difference = (step: number) => (lossAt(step) - lossAt(-step)) / (2 * step);
    // Richardson's extrapolation takes the error of second order away.
    const measured = (4 * difference(STEP) - difference(2 * STEP)) / 3;
    liveValues(parameter).set(start);
    assert.ok(Math.abs(measured - slope) < 1e-3 + 0.01 * Math.abs(slope), `${name}: gradient says ${slope}, differences say ${measured}`);
  }
  tf.dispose([...gradients.values()]);
}
