import assert from "node:assert/strict";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { createAdam } from "../../merge-core/adapt/adam.ts";
import { adaMerging, coefficientGradient, coefficientLayout } from "../../merge-core/adapt/adamerging.ts";
import { concreteAdaMerging, concreteTaskArithmetic, drawMask, logitGradient, maskGradients } from "../../merge-core/adapt/concrete.ts";
import { entropyGradients, taskBatch } from "../../merge-core/adapt/entropy.ts";
import { coefficientRecipe, combine, decoderOf, readTaskVectors, type TaskVectors } from "../../merge-core/adapt/task-vectors.ts";
import { mergeByRecipe } from "../../merge-core/evaluate/recipe-merge.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import type { TokenRow } from "../../merge-core/nn/data.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { uniforms } from "../../merge-core/nn/random.ts";
import { liveValues } from "../../merge-core/nn/storage.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { testRandom, writeTinyModel } from "../helpers/tiny-decoder.ts";

const RECIPE =
  "merge_method: ties\nbase_model: base\nmodels:\n  - {model: a, parameters: {weight: 1, density: 0.5}}\n  - {model: b, parameters: {weight: 1}}\ndtype: float32\n";
const ROWS: TokenRow[][] = [
  [
    { tokens: [1, 5, 9, 0], lossFrom: 3 },
    { tokens: [1, 7, 3, 4, 0], lossFrom: 4 },
  ],
  [{ tokens: [1, 11, 12, 13], lossFrom: 1 }],
];

describe("test-time adaptation", () => {
  const folder = temporaryFolder();
  const file = join(folder, "recipe.yml");
  let vectors: TaskVectors;
  before(async () => {
    await initBackend({ threads: 1 });
    for (const [i, name] of ["base", "a", "b"].entries()) writeTinyModel(join(folder, name), {}, i + 1);
    vectors = await readTaskVectors(RECIPE, file);
  });
  after(() => disposeDecoder(vectors.base.decoder));

  const entropyAt = (values: Float32Array[]): number => {
    const decoder = decoderOf(vectors, values);
    const { loss } = entropyGradients(decoder, ROWS);
    disposeDecoder(decoder);
    return loss;
  };

  for (const [per, masked] of [
    ["task", false],
    ["layer", false],
    ["layer", true],
  ] as const) {
    it(`has the gradient of coefficients per ${per} that finite differences have${masked ? ", under a mask" : ""}`, () => {
      const layout = coefficientLayout(vectors, per);
      const random = testRandom(3);
      const masks = masked ? vectors.origin.map(({ length }) => Float64Array.from({ length }, () => 1 + random())) : undefined;
      const values = Float64Array.from({ length: layout.size }, () => 0.3 + random() / 5);
      const tensors = tf.memory().numTensors;
      const { gradient } = coefficientGradient(vectors, layout, values, ROWS, masks);
      assert.equal(tf.memory().numTensors, tensors);
      const step = 0.002;
      const scale = Math.max(...gradient.map(Math.abs));
      for (const i of values.keys()) {
        const at = (delta: number) => entropyAt(combine(vectors, layout.spread(values.map((value, k) => (k === i ? value + delta : value))), masks));
        // Fourth order, for entropy bends quickly here.
        const numeric = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
        assert.ok(Math.abs(numeric - (gradient[i] ?? 0)) < 5e-3 * scale, `${i}: ${gradient[i]}, by differences ${numeric}`);
      }
    });
  }

  it("has the gradient of mask logits that finite differences have", () => {
    const random = testRandom(5);
    const logits = vectors.origin.map(({ length }) => Float64Array.from({ length }, random));
    const u = vectors.origin.map(({ length }) => Float64Array.from({ length }, () => 0.5 + 0.45 * random()));
    const coefficients = vectors.tasks.map((_, task) => vectors.names.map(() => 0.3 + 0.1 * task));
    const draws = logits.map((own, k) => drawMask(own, u[k] ?? []));
    const { gradients } = maskGradients(vectors, coefficients, draws, ROWS);
    for (const tensor of [0, 3, 8, vectors.names.length - 1]) {
      const own = gradients[tensor] as Float64Array;
      // Along the gradient itself, where the difference is large enough to be measured in float32.
      const norm = Math.hypot(...own);
      const at = (delta: number) => {
        const moved = draws.map(({ mask }, k) =>
          k === tensor
            ? drawMask(
                (logits[k] as Float64Array).map((x, i) => x + (delta * (own[i] ?? 0)) / norm),
                u[k] ?? [],
              ).mask
            : mask,
        );
        return entropyAt(combine(vectors, coefficients, moved));
      };
      const numeric = (at(0.05) - at(-0.05)) / 0.1;
      assert.ok(Math.abs(numeric - norm) < 0.02 * norm, `${vectors.names[tensor]}: ${norm}, by differences ${numeric}`);
    }
  });

  it("differentiates a mask through its division by the mean", () => {
    const logits = Float64Array.of(0.3, -1, 2);
    const u = [0.2, 0.7, 0.5];
    const target = [1, -2, 0.5];
    const value = (x: Float64Array) => drawMask(x, u).mask.reduce((sum, m, i) => sum + m * (target[i] ?? 0), 0);
    const gradient = logitGradient(drawMask(logits, u), Float64Array.from(target));
    for (const i of logits.keys()) {
      const at = (delta: number) => value(logits.map((x, k) => (k === i ? x + delta : x)));
      assert.ok(Math.abs((at(1e-5) - at(-1e-5)) / 2e-5 - (gradient[i] ?? 0)) < 1e-8);
    }
    const { mask } = drawMask(logits, u);
    assert.ok(Math.abs(mask.reduce((a, b) => a + b) / 3 - 1) < 1e-12);
    // log(.2/.8) = -1.386294; (-1.386294 + .3) / .5 = -2.172589; sigmoid .102240
    assert.ok(Math.abs((drawMask(logits, u).raw[0] ?? 0) - 0.10224) < 1e-5);
  });

  it("takes Adam's first steps by its formula", () => {
    const values = Float64Array.of(1, 1);
    const adam = createAdam(2, 0.1);
    adam.step(values, Float64Array.of(3, -0.5));
    // Whatever the gradient, the first step is lr * g / (|g| + eps).
    assert.ok(Math.abs((values[0] ?? 0) - 0.9) < 1e-8 && Math.abs((values[1] ?? 0) - 1.1) < 1e-8);
    adam.step(values, Float64Array.of(1, 0));
    const [m, v] = [(0.9 * 0.3 + 0.1) / (1 - 0.81), (0.999 * 0.009 + 0.001) / (1 - 0.999 ** 2)];
    assert.ok(Math.abs((values[0] ?? 0) - (0.9 - (0.1 * m) / Math.sqrt(v))) < 1e-6);
  });

  it("lowers the entropy, and gives the same for the same seed", async () => {
    const options = { steps: 25, lr: 0.02, batchSize: 2 };
    const { coefficients, losses } = await adaMerging(vectors, ROWS, options);
    assert.ok((losses.at(-1) ?? 9) < (losses[0] ?? 0) - 0.05, `${losses[0]} to ${losses.at(-1)}`);
    assert.deepEqual((await adaMerging(vectors, ROWS, options)).coefficients, coefficients);
    const task = await adaMerging(vectors, ROWS, { ...options, per: "task" });
    for (const own of task.coefficients) assert.equal(new Set(own).size, 1);
    assert.ok((task.losses.at(-1) ?? 9) < (task.losses[0] ?? 0));
  });

  it("is written as a recipe that merges to the same weights", async () => {
    const random = testRandom(9);
    const coefficients = vectors.tasks.map(() => vectors.names.map(() => random()));
    const text = coefficientRecipe(RECIPE, vectors, coefficients);
    await mergeByRecipe({ text, file }, join(folder, "merged"));
    const merged = await loadModel(join(folder, "merged"));
    for (const [i, values] of combine(vectors, coefficients).entries()) {
      const found = liveValues(merged.decoder.weights.get(vectors.names[i] ?? "") as tf.Tensor);
      for (const [k, value] of values.entries())
        assert.ok(Math.abs((found[k] ?? 9) - value) < 1e-6, `${vectors.names[i]}[${k}]: ${found[k]}, expected ${value}`);
    }
    disposeDecoder(merged.decoder);
    const even = coefficientRecipe(
      RECIPE,
      vectors,
      vectors.tasks.map(() => vectors.names.map(() => 0.25)),
    );
    assert.match(even, /weight: 0.25/);
    assert.doesNotMatch(even, /density|filter/);
  });

  it("learns masks that lower the entropy, alone and with coefficients", async () => {
    const options = { steps: 10, lr: 0.02, maskSteps: 30, maskLr: 0.1, batchSize: 2 };
    const plain = vectors.tasks.map(() => vectors.names.map(() => 0.3));
    const start = entropyAt(combine(vectors, plain));
    const concrete = await concreteTaskArithmetic(vectors, ROWS, options);
    assert.deepEqual(concrete.coefficients, plain);
    assert.ok(entropyAt(combine(vectors, plain, concrete.masks)) < start);
    const both = await concreteAdaMerging(vectors, ROWS, { ...options, innerLr: 0.05 });
    assert.ok(entropyAt(combine(vectors, both.coefficients, both.masks)) < start);
    assert.equal(both.losses.length, 40);
    assert.deepEqual((await concreteTaskArithmetic(vectors, ROWS, options)).masks[0], concrete.masks[0]);
  });

  it("takes the inner step of Concrete AdaMerging from fresh coefficients, and learns the mask with what comes of it", async () => {
    const batch = 2;
    const { losses } = await concreteAdaMerging(vectors, ROWS, { steps: 0, maskSteps: 1, innerLr: 0.25, init: 0.2, batchSize: batch, seed: 7 });
    const draws = vectors.origin.map(({ length }, k) => drawMask(new Float64Array(length), uniforms(7, `concrete/0/${vectors.names[k]}`, length)));
    const masks = draws.map(({ mask }) => mask);
    const layout = coefficientLayout(vectors, "layer");
    const start = new Float64Array(layout.size).fill(0.2);
    const inner = ROWS.map((rows, task) => taskBatch(rows, batch, 8, task, 0));
    const { gradient } = coefficientGradient(vectors, layout, start, inner, masks);
    // Adam's first step is its rate against the sign of the gradient.
    const moved = start.map((value, i) => value - (0.25 * (gradient[i] ?? 0)) / (Math.abs(gradient[i] ?? 0) + 1e-8));
    const { loss } = maskGradients(
      vectors,
      layout.spread(moved),
      draws,
      ROWS.map((rows, task) => taskBatch(rows, batch, 7, task, 0)),
    );
    assert.ok(Math.abs((losses[0] ?? 0) - loss) < 1e-5, `${losses[0]}, expected ${loss}`);
    assert.equal(losses.length, 1);
  });

  it("shows every row once before any comes again", () => {
    const rows = Array.from({ length: 7 }, (_, i): TokenRow => ({ tokens: [1, i, 0], lossFrom: 2 }));
    const seen = [0, 1, 2].flatMap((step) => taskBatch(rows, 3, 1, 0, step).map(({ tokens }) => tokens[1] ?? -1));
    assert.deepEqual([...seen].sort(), [0, 1, 2, 3, 4, 5, 6]);
    assert.notDeepEqual(
      seen,
      [3, 4, 5].flatMap((step) => taskBatch(rows, 3, 1, 0, step).map(({ tokens }) => tokens[1] ?? -1)),
    );
  });

  it("refuses recipes without a base or with slices, and can be cancelled", async () => {
    await rejectsWith("adapt-recipe", () => readTaskVectors("merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: 1}}\n", file));
    const controller = new AbortController();
    const onStep = () => controller.abort();
    await rejectsWith("cancelled", () => adaMerging(vectors, ROWS, { steps: 5, signal: controller.signal, onStep }));
  });
});
