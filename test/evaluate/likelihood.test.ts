import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { chooseByLikelihood, logLikelihoods, meanEntropy, readChoices, readUnlabelled } from "../../merge-core/evaluate/likelihood.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { tokenize } from "../../merge-core/nn/data.ts";
import { forwardLogits } from "../../merge-core/nn/llama.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel, type Model } from "../../merge-core/nn/model.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

describe("likelihoods", () => {
  let model: Model;
  before(async () => {
    await initBackend({ threads: 1 });
    model = await loadModel(writeTinyModel(join(temporaryFolder(), "model")));
  });
  after(() => disposeDecoder(model.decoder));

  /** Distribution of the next token behind each position, in plain float64. */
  function distributions(ids: readonly number[]): number[][] {
    const logits = forwardLogits(model.decoder, Int32Array.from(ids), 1);
    const rows = logits.arraySync();
    logits.dispose();
    return rows.map((row) => {
      const sum = row.reduce((total, x) => total + Math.exp(x), 0);
      return row.map((x) => Math.exp(x) / sum);
    });
  }

  const logProbability = (prompt: string, answer: string): number => {
    const ids = [...model.codec.encodeStart(prompt), ...model.codec.encodeMore(answer)];
    const from = model.codec.encodeStart(prompt).length;
    const p = distributions(ids);
    return ids.slice(from).reduce((sum, id, i) => sum + Math.log(p[from + i - 1]?.[id] ?? 0), 0);
  };

  it("adds up the log-probabilities of each row's answer, in the order of the rows", async () => {
    const pairs = [
      ["abc", "defgh"],
      ["n", "m"],
      ["ab", "cd"],
    ] as const;
    const rows = pairs.flatMap(([prompt, completion]) => tokenize({ prompt, completion }, model.codec, undefined, 64));
    const tensors = tf.memory().numTensors;
    const found = await logLikelihoods(model.decoder, rows, { batchSize: 2 });
    for (const [i, [prompt, answer]] of pairs.entries()) assert.ok(Math.abs((found[i] ?? 0) - logProbability(prompt, answer)) < 1e-5, `${i}: ${found[i]}`);
    assert.equal(tf.memory().numTensors, tensors);
  });

  it("chooses the likeliest answer, or the likeliest per byte", async () => {
    const choices = ["a", "bcdefg", "nn"];
    const scores = choices.map((choice) => logProbability("dd", choice));
    const perByte = scores.map((score, i) => score / (choices[i]?.length ?? 1));
    const likeliest = scores.indexOf(Math.max(...scores));
    const likeliestPerByte = perByte.indexOf(Math.max(...perByte));
    for (const answer of choices.keys()) {
      assert.equal(await chooseByLikelihood(model, [{ prompt: "dd", choices, answer }], false), answer === likeliest ? 1 : 0);
      assert.equal(await chooseByLikelihood(model, [{ prompt: "dd", choices, answer }], true), answer === likeliestPerByte ? 1 : 0);
    }
  });

  it("takes the entropy behind prompts, and at every position of texts", async () => {
    const entropy = (p: readonly number[]) => -p.reduce((sum, x) => sum + x * Math.log(x), 0);
    const prompt = distributions(model.codec.encodeStart("abc")).at(-1) ?? [];
    assert.ok(Math.abs((await meanEntropy(model, [{ prompt: "abc" }])) - entropy(prompt)) < 1e-5);
    const ids = model.codec.encodeStart("hij");
    const all = [...distributions(ids).map(entropy), entropy(prompt)];
    const expected = all.reduce((sum, x) => sum + x, 0) / all.length;
    assert.ok(Math.abs((await meanEntropy(model, [{ text: "hij" }, { prompt: "abc" }], { batchSize: 1 })) - expected) < 1e-5);
  });

  it("reads questions and unlabelled data, and refuses lines that are neither", async () => {
    const file = join(temporaryFolder(), "data.jsonl");
    writeFileSync(file, '{"prompt":"a","choices":["b","c"],"answer":1}\n');
    assert.deepEqual(await readChoices(file), [{ prompt: "a", choices: ["b", "c"], answer: 1 }]);
    assert.deepEqual(await readUnlabelled(file), [{ prompt: "a" }]);
    writeFileSync(file, '{"prompt":"a","choices":["b","c"],"answer":2}\n');
    assert.equal((await rejectsWith("data-shape", () => readChoices(file))).range?.line, 0);
    writeFileSync(file, '{"question":"a"}\n');
    await rejectsWith("data-shape", () => readUnlabelled(file));
  });
});
