import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { combine, decoderOf, readTaskVectors, type TaskVectors } from "../../merge-core/adapt/task-vectors.ts";
import { buildWeMoe, freezeWeMoe, routerGradients, trainRouters } from "../../merge-core/adapt/wemoe.ts";
import { evaluateCheckpoint } from "../../merge-core/evaluate/evaluate.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import type { TokenRow } from "../../merge-core/nn/data.ts";
import { generate, generateWhole, wholeScores } from "../../merge-core/nn/generate.ts";
import { type Decoder, forwardLogits } from "../../merge-core/nn/llama.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel, type Model } from "../../merge-core/nn/model.ts";
import { saveModel } from "../../merge-core/nn/save.ts";
import { liveValues } from "../../merge-core/nn/storage.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

const RECIPE = "merge_method: task_arithmetic\nbase_model: base\nmodels:\n  - {model: a, parameters: {weight: 1}}\n  - {model: b, parameters: {weight: 1}}\n";
const TOKENS = Int32Array.of(1, 5, 9, 4, 1, 7, 3, 12);
const ROWS: TokenRow[][] = [[{ tokens: [1, 5, 9, 0], lossFrom: 3 }], [{ tokens: [1, 11, 12, 13], lossFrom: 1 }]];

describe("WEMoE", () => {
  const folder = temporaryFolder();
  let vectors: TaskVectors;
  let model: Model;
  before(async () => {
    await initBackend({ threads: 1 });
    for (const [i, name] of ["base", "a", "b"].entries()) writeTinyModel(join(folder, name), {}, i + 1);
    vectors = await readTaskVectors(RECIPE, join(folder, "recipe.yml"));
  });
  beforeEach(() => {
    model = buildWeMoe(vectors);
  });
  afterEach(() => disposeDecoder(model.decoder));
  after(() => disposeDecoder(vectors.base.decoder));

  const set = (name: RegExp, value: (i: number) => number) => {
    for (const [key, tensor] of model.decoder.weights) {
      const values = liveValues(tensor);
      if (name.test(key)) for (const i of values.keys()) values[i] = value(i);
    }
  };
  const logits = (decoder: Decoder, tokens = TOKENS, batch = 2): Float32Array => {
    const scores = forwardLogits(decoder, tokens, batch);
    const values = liveValues(scores).slice();
    scores.dispose();
    return values;
  };
  const assertClose = (found: Float32Array, expected: Float32Array, tolerance = 2e-5) => {
    for (const [i, value] of expected.entries())
      assert.ok(Math.abs((found[i] ?? 9) - value) <= tolerance * Math.max(1, Math.abs(value)), `${i}: ${found[i]}, expected ${value}`);
  };
  /** Task arithmetic with other coefficients for the MLPs. */
  const merged = (mlp: readonly number[]): Decoder => {
    const coefficients = vectors.tasks.map((_, t) => vectors.names.map((name) => (/\.mlp\./.test(name) ? (mlp[t] ?? 0) : 0.3)));
    return decoderOf(vectors, combine(vectors, coefficients));
  };

  it("starts as task arithmetic, and with routers that say one thing is that merge", () => {
    set(/router\.\d\.weight/, () => 0);
    const arithmetic = merged([0.3, 0.3]);
    assertClose(logits(model.decoder), logits(arithmetic));
    set(/router\.2\.bias/, (i) => [0.7, -0.2][i] ?? 0);
    const other = merged([0.7, -0.2]);
    assertClose(logits(model.decoder), logits(other));
    disposeDecoder(arithmetic);
    disposeDecoder(other);
  });

  it("begins with small normal routers, and has a ReLU between their layers", () => {
    const values = [...model.decoder.weights].flatMap(([name, tensor]) => (/router\.\d\.weight/.test(name) ? [...liveValues(tensor)] : []));
    const deviation = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
    assert.ok(Math.abs(deviation - 0.01) < 0.002, `${deviation}`);
    set(/router\.0\.weight/, () => 0);
    set(/router\.0\.bias/, (i) => (i % 2 === 0 ? 0.5 : -3));
    const width = model.decoder.config.hiddenSize;
    set(/router\.2\.weight/, (i) => (i < width ? 0.1 : -0.05));
    set(/router\.2\.bias/, () => 0);
    // Half of the hidden values are 0.5, the others are cut off.
    const share = (width / 2) * 0.5;
    const expected = merged([0.1 * share, -0.05 * share]);
    assertClose(logits(model.decoder), logits(expected), 1e-4);
    disposeDecoder(expected);
  });

  it("routes by the mean over the positions so far, of each sequence by itself", () => {
    set(/router\.0\.weight/, (i) => Math.sin(i));
    set(/router\.2\.weight/, (i) => Math.cos(i));
    const both = logits(model.decoder);
    const [first, second] = [TOKENS.slice(0, 4), TOKENS.slice(4)];
    const half = both.length / 2;
    assertClose(both.slice(0, half), logits(model.decoder, first, 1));
    assertClose(both.slice(half), logits(model.decoder, second, 1));
    const width = model.decoder.config.vocabSize;
    assertClose(both.slice(0, 2 * width), logits(model.decoder, first.slice(0, 2), 1));
  });

  it("has the routers' gradient that finite differences have", () => {
    set(/router\.\d\.weight/, (i) => Math.sin(i) / 3);
    const parameters = new Map([...model.decoder.weights].filter(([name]) => name.includes("router")));
    const { gradients } = routerGradients(model.decoder, parameters, ROWS);
    for (const [name, gradient] of gradients) {
      const own = liveValues(gradient).slice();
      const norm = Math.hypot(...own);
      const values = liveValues(parameters.get(name) as tf.Tensor);
      const start = values.slice();
      const at = (delta: number) => {
        for (const i of values.keys()) values[i] = (start[i] ?? 0) + (delta * (own[i] ?? 0)) / norm;
        const result = routerGradients(model.decoder, parameters, ROWS);
        tf.dispose([...result.gradients.values()]);
        return result.loss;
      };
      const numeric = (at(0.01) - at(-0.01)) / 0.02;
      values.set(start);
      assert.ok(Math.abs(numeric - norm) < 0.03 * norm + 1e-4, `${name}: ${norm}, by differences ${numeric}`);
    }
    tf.dispose([...gradients.values()]);
  });

  it("learns to be surer of itself, changing its routers alone", async () => {
    const before = new Map([...model.decoder.weights].map(([name, tensor]) => [name, liveValues(tensor).slice()]));
    const tensors = tf.memory().numTensors;
    const losses = await trainRouters(model.decoder, ROWS, { steps: 40, lr: 0.01 });
    assert.equal(tf.memory().numTensors, tensors);
    assert.ok((losses.at(-1) ?? 9) < (losses[0] ?? 0) - 0.05, `${losses[0]} to ${losses.at(-1)}`);
    for (const [name, values] of before) {
      const same = liveValues(model.decoder.weights.get(name) as tf.Tensor).every((value, i) => value === values[i]);
      assert.equal(same, !name.includes("router"), name);
    }
  });

  it("is saved, loaded and measured like any model, generation included", async () => {
    set(/router\.\d\.weight/, (i) => Math.sin(i) / 2);
    const out = join(folder, "mixture");
    await saveModel(model, out, "F32");
    const loaded = await loadModel(out);
    assert.deepEqual(logits(loaded.decoder), logits(model.decoder));
    disposeDecoder(loaded.decoder);
    const data = join(folder, "data.jsonl");
    const [answer = []] = await generate(model.decoder, [model.codec.encodeStart("ab")], { maxNewTokens: 3 });
    writeFileSync(data, `${JSON.stringify({ prompt: "ab", completion: model.codec.decode(answer) })}\n`);
    const result = await evaluateCheckpoint(out, [data], { threads: 1, maxNewTokens: 3 });
    assert.ok((result.loss ?? 0) > 0);
    assert.equal(result.exactMatch, 1);
  });

  it("freezes into an ordinary model with its mean coefficients on a domain", async () => {
    set(/router\.\d\.weight/, () => 0);
    set(/router\.2\.bias/, (i) => [0.7, -0.2][i] ?? 0);
    const frozen = freezeWeMoe(model, ROWS.flat());
    assertClose(logits(frozen.decoder), logits(model.decoder));
    assert.deepEqual([frozen.configJson.model_type, frozen.configJson.architectures], ["llama", ["LlamaForCausalLM"]]);
    const out = join(folder, "frozen");
    await saveModel(frozen, out, "F32");
    const loaded = await loadModel(out);
    assertClose(logits(loaded.decoder), logits(model.decoder));
    disposeDecoder(loaded.decoder);
    disposeDecoder(frozen.decoder);
  });

  it("generates whole sequences as generation with a cache does", async () => {
    const { decoder } = vectors.base;
    const prompts = ["ab", "ndkl", "c"].map((text) => vectors.base.codec.encodeStart(text));
    const options = { maxNewTokens: 8 };
    assert.deepEqual(await generateWhole(wholeScores(decoder), decoder.config, prompts, options), await generate(decoder, prompts, options));
  });
});
