import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { drawn, generate, generateWhole, wholeScores } from "../../merge-core/nn/generate.ts";
import { type Decoder, forwardLogits } from "../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder } from "../../merge-core/nn/load.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { TINY_GPT2, tinyConfig, tinyTensors } from "../helpers/tiny-decoder.ts";

const PROMPTS = [[1, 4, 5], [1], [1, 9, 9, 9, 3, 2, 7], [1, 16, 8, 11], [6, 1, 3]];

describe("greedy generation", () => {
  before(() => initBackend({ threads: 1 }));

  for (const changes of [{}, { architectures: ["MistralForCausalLM"], sliding_window: 3 }, { architectures: ["Qwen2ForCausalLM"] }, TINY_GPT2]) {
    it(`with a cache gives what the whole sequence run again gives, ${JSON.stringify(changes)}`, async () => {
      const config = tinyConfig({ ...changes, eos_token_id: [12, 13] });
      for (const seed of [1, 2, 3]) {
        const model = createDecoder(config, tinyTensors(config, seed), "test");
        const tensors = tf.memory().numTensors;
        const results = await generate(model, PROMPTS, { maxNewTokens: 9, batchSize: 3 });
        assert.deepEqual(
          results,
          PROMPTS.map((prompt) => rerun(model, prompt, 9)),
        );
        assert.equal(tf.memory().numTensors, tensors);
        disposeDecoder(model);
      }
    });
  }

  it("stops at an end token and leaves it out", async () => {
    const config = tinyConfig();
    const free = await withModel({ ...config, eosTokenIds: [] }, (model) => generate(model, PROMPTS, { maxNewTokens: 6 }));
    const end = free[0]?.[3] ?? 0;
    const stopped = await withModel({ ...config, eosTokenIds: [end] }, (model) => generate(model, PROMPTS, { maxNewTokens: 6 }));
    assert.deepEqual(
      stopped,
      free.map((ids) => (ids.includes(end) ? ids.slice(0, ids.indexOf(end)) : ids)),
    );
  });

  it("gives nothing when asked for nothing", async () => {
    assert.deepEqual(await withModel(tinyConfig(), (model) => generate(model, [[1, 2]], { maxNewTokens: 0 })), [[]]);
  });

  it("refuses an empty prompt", () => withModel(tinyConfig(), (model) => rejectsWith("prompt-empty", () => generate(model, [[1], []], { maxNewTokens: 1 }))));

  it("can be cancelled", () =>
    withModel(tinyConfig(), (model) => rejectsWith("cancelled", () => generate(model, PROMPTS, { maxNewTokens: 5, signal: AbortSignal.abort() }))));
});

describe("drawn generation", () => {
  before(() => initBackend({ threads: 1 }));

  it("draws tokens as often as softmax has them at that temperature", () => {
    const scores = Float32Array.of(1, -0.5, 2, 0.25);
    for (const temperature of [0.5, 1, 2]) {
      const counts = [0, 0, 0, 0];
      // Evenly spread numbers in place of random ones: shares come out to within one in n.
      const n = 20_000;
      for (let i = 0; i < n; i++) counts[drawn(scores, temperature, (i + 0.5) / n)]!++;
      const powers = [...scores].map((score) => Math.E ** (score / temperature));
      const total = powers.reduce((sum, power) => sum + power, 0);
      for (const [token, count] of counts.entries()) assert.ok(Math.abs(count / n - (powers[token] ?? 0) / total) <= 1 / n, `token ${token} at ${temperature}`);
    }
  });

  it("depends on seed and prompt alone, not on batches or a cache", async () => {
    const config = tinyConfig({ eos_token_id: [12, 13] });
    const sampling = { temperature: 1, seed: 3 };
    const draw = (batchSize: number, seed = 3) =>
      withModel(config, (model) => generate(model, PROMPTS, { maxNewTokens: 9, batchSize, sampling: { ...sampling, seed } }));
    const results = await draw(1);
    assert.deepEqual(await draw(3), results);
    assert.notDeepEqual(await draw(3, 4), results);
    assert.deepEqual(await withModel(config, (model) => generateWhole(wholeScores(model), config, PROMPTS, { maxNewTokens: 9, sampling })), results);
  });

  it("is greedy where the temperature is near zero", async () => {
    const config = tinyConfig();
    const options = { maxNewTokens: 6 };
    assert.deepEqual(
      await withModel(config, (model) => generate(model, PROMPTS, { ...options, sampling: { temperature: 1e-6, seed: 1 } })),
      await withModel(config, (model) => generate(model, PROMPTS, options)),
    );
  });
});

async function withModel<T>(config: ReturnType<typeof tinyConfig>, use: (model: Decoder) => Promise<T>): Promise<T> {
  const model = createDecoder(config, tinyTensors(config, 5), "test");
  try {
    return await use(model);
  } finally {
    disposeDecoder(model);
  }
}

/** Greedy decoding without a cache: every token from a full forward pass of one unpadded sequence. */
function rerun(model: Decoder, prompt: readonly number[], maxNewTokens: number): number[] {
  const ids = [...prompt];
  while (ids.length < prompt.length + maxNewTokens) {
    const logits = forwardLogits(model, Int32Array.from(ids), 1);
    const last = Array.from(logits.dataSync<"float32">().slice(-model.config.vocabSize));
    logits.dispose();
    const best = last.indexOf(Math.max(...last));
    if (model.config.eosTokenIds.includes(best)) break;
    ids.push(best);
  }
  return ids.slice(prompt.length);
}
