import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { averagedScores, evaluateEnsemble, exactMatchBy } from "../../merge-core/adapt/ensemble.ts";
import { pooledStates, routeOf, trainRouter } from "../../merge-core/adapt/router.ts";
import { evaluate, evaluateCheckpoint } from "../../merge-core/evaluate/evaluate.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { tokenize } from "../../merge-core/nn/data.ts";
import { generate, wholeScores } from "../../merge-core/nn/generate.ts";
import { forwardLogits } from "../../merge-core/nn/llama.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel, type Model } from "../../merge-core/nn/model.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { testRandom, writeTinyModel } from "../helpers/tiny-decoder.ts";

describe("several models at once", () => {
  let models: Model[] = [];
  const at = (i: number) => models[i] as Model;
  before(async () => {
    await initBackend({ threads: 1 });
    models = [];
    for (const seed of [1, 2]) models.push(await loadModel(writeTinyModel(join(temporaryFolder(), "model"), {}, seed)));
  });
  after(() => {
    for (const { decoder } of models) disposeDecoder(decoder);
  });

  it("average their scores", () => {
    const tokens = Int32Array.of(1, 5, 9);
    const tensors = tf.memory().numTensors;
    const rows = tf.tidy(() => models.map(({ decoder }) => forwardLogits(decoder, tokens, 1).arraySync()[2] ?? []));
    const found = tf.tidy(() => averagedScores(models.map(({ decoder }) => decoder))(tokens, 1, Int32Array.of(2)).arraySync()[0] ?? []);
    for (const [k, value] of found.entries()) assert.ok(Math.abs(value - ((rows[0]?.[k] ?? 0) + (rows[1]?.[k] ?? 0)) / 2) < 1e-6);
    assert.equal(tf.memory().numTensors, tensors);
  });

  it("count exact matches as evaluation does", async () => {
    const model = at(0);
    const [answer = []] = await generate(model.decoder, [model.codec.encodeStart("ab")], { maxNewTokens: 4 });
    const questions = [
      { prompt: "ab", completion: model.codec.decode(answer) },
      { prompt: "cd", completion: "nnn" },
      { prompt: "e", completion: "m" },
    ];
    const { exactMatch } = await evaluate(model, questions, { metrics: ["exactMatch"] });
    assert.equal(await exactMatchBy(wholeScores(model.decoder), model, questions), exactMatch);
  });

  it("are measured as one: of a model with itself what it measures alone, of two by the mean of their scores", async () => {
    const folder = temporaryFolder();
    const paths = [1, 2].map((seed) => writeTinyModel(join(folder, `${seed}`), {}, seed));
    const [one = "", two = ""] = paths;
    const file = join(folder, "data.jsonl");
    writeFileSync(file, '{"prompt":"ab","completion":"c"}\n{"text":"abcdefgh"}\n');
    const alone = await evaluateCheckpoint(one, [file], { threads: 1 });
    const twice = await evaluateEnsemble([one, one], [file], { threads: 1 });
    assert.ok(Math.abs((twice.loss ?? 9) - (alone.loss ?? 0)) < 1e-6);
    assert.deepEqual({ ...twice, loss: 0, perplexity: 0 }, { ...alone, loss: 0, perplexity: 0 });
    const text = join(folder, "text.jsonl");
    writeFileSync(text, '{"text":"abcdefgh"}\n');
    const [row] = tokenize({ text: "abcdefgh" }, at(0).codec, at(0).decoder.config.eosTokenIds[0], 64);
    const tokens = row?.tokens ?? [];
    const scores = tf.tidy(() => models.map(({ decoder }) => forwardLogits(decoder, Int32Array.from(tokens.slice(0, -1)), 1).arraySync()));
    const losses = tokens.slice(1).map((target, i) => {
      const mean = (scores[0]?.[i] ?? []).map((x, k) => (x + (scores[1]?.[i]?.[k] ?? 0)) / 2);
      return Math.log(mean.reduce((sum, x) => sum + Math.exp(x), 0)) - (mean[target] ?? 0);
    });
    const expected = losses.reduce((a, b) => a + b, 0) / losses.length;
    assert.ok(Math.abs(((await evaluateEnsemble([one, two], [text], { threads: 1 })).loss ?? 9) - expected) < 1e-5);
    const other = writeTinyModel(join(folder, "other"), { vocab_size: 40 }, 1);
    await rejectsWith("ensemble-tokenizers", () => evaluateEnsemble([one, other], [text], { threads: 1 }));
  });

  it("are told apart by a router on pooled hidden states", () => {
    const random = testRandom(4);
    const draw = (label: number) => Float64Array.of(random() + label, 5 * random(), random() - label);
    const labels = Array.from({ length: 200 }, (_, i) => i % 3);
    const router = trainRouter(labels.map(draw), labels, 3);
    const right = labels.filter((label) => routeOf(router, draw(label)) === label).length;
    assert.ok(right > 150, `${right} of 200; by chance 67`);
    const parted = trainRouter([Float64Array.of(-1), Float64Array.of(1)], [1, 0], 2);
    assert.deepEqual([routeOf(parted, Float64Array.of(-3)), routeOf(parted, Float64Array.of(0.5))], [1, 0]);
  });

  it("pool the states in front of a layer over a prompt's own tokens", () => {
    const { decoder } = at(0);
    const table = decoder.weights.get("model.embed_tokens.weight") as tf.Tensor2D;
    const [pooled = new Float64Array()] = pooledStates(decoder, [{ tokens: [1, 5, 0], lossFrom: 2 }], 0);
    const rows = table.arraySync();
    for (const [k, value] of pooled.entries()) assert.ok(Math.abs(value - ((rows[1]?.[k] ?? 0) + (rows[5]?.[k] ?? 0)) / 2) < 1e-7);
  });
});
