import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { evaluate, evaluateCheckpoint } from "../../merge-core/evaluate/evaluate.ts";
import { mergeByRecipe } from "../../merge-core/evaluate/recipe-merge.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import type { Example } from "../../merge-core/nn/data.ts";
import { generate } from "../../merge-core/nn/generate.ts";
import { forwardLogits } from "../../merge-core/nn/llama.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel, type Model } from "../../merge-core/nn/model.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

const EXAMPLES: readonly Example[] = [
  { prompt: "ab", completion: "b" },
  { prompt: "cd", completion: "dca" },
  { text: "abcdefghi" },
  { prompt: "n", completion: "m" },
];

describe("evaluation with an adapter beside the weights", () => {
  it("gives what the folded model gives", async () => {
    const out = join(temporaryFolder(), "folded");
    const [base, adapter, data] = ["base", "adapters/sort", "data/sort.test.jsonl"].map((name) => resolve("media/zoo", name));
    const lora = { model: { path: base }, lora: { path: adapter } };
    const recipe = { merge_method: "passthrough", dtype: "float32", models: [{ model: lora }] };
    await mergeByRecipe({ text: JSON.stringify(recipe), file: "recipe.yml" }, out, { threads: 1 });
    const options = { threads: 1, limit: 24 };
    const folded = await evaluateCheckpoint(out, [data ?? ""], options);
    const attached = await evaluateCheckpoint(base ?? "", [data ?? ""], { ...options, adapter: adapter ?? "" });
    assert.ok(Math.abs((folded.loss ?? 0) - (attached.loss ?? 1)) < 1e-4 && folded.exactMatch === attached.exactMatch, JSON.stringify([folded, attached]));
    const alone = await evaluateCheckpoint(base ?? "", [data ?? ""], options);
    assert.ok((alone.loss ?? 0) > 2 * (attached.loss ?? 1));
  });
});

describe("evaluation", () => {
  let model: Model;
  before(async () => {
    await initBackend({ threads: 1 });
    model = await loadModel(writeTinyModel(join(temporaryFolder(), "model")));
  });
  after(() => disposeDecoder(model.decoder));

  /** The log-probability of each token that the loss counts, from the full logits, example by example. */
  function lossByHand(): { total: number; tokens: number } {
    let total = 0;
    let tokens = 0;
    for (const example of EXAMPLES) {
      const start = model.codec.encodeStart("text" in example ? example.text : example.prompt);
      const ids = [...start, ...("text" in example ? [] : model.codec.encodeMore(example.completion)), 2];
      const logits = forwardLogits(model.decoder, Int32Array.from(ids.slice(0, -1)), 1);
      const rows = logits.arraySync();
      logits.dispose();
      const from = "text" in example ? 1 : start.length;
      for (let i = from; i < ids.length; i++) {
        const row = rows[i - 1] ?? [];
        total += Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - (row[ids[i] ?? 0] ?? 0);
        tokens++;
      }
    }
    return { total, tokens };
  }

  it("takes the mean loss over all predicted tokens of all examples", async () => {
    const tensors = tf.memory().numTensors;
    const result = await evaluate(model, EXAMPLES, { metrics: ["loss"], batchSize: 2 });
    const { total, tokens } = lossByHand();
    assert.equal(result.tokens, tokens);
    assert.ok(Math.abs((result.loss ?? 0) - total / tokens) < 1e-5, `${result.loss} and ${total / tokens}`);
    assert.equal(result.perplexity, Math.exp(result.loss ?? 0));
    assert.equal(result.exactMatch, undefined);
    assert.equal(tf.memory().numTensors, tensors);
  });

  it("counts the prompts whose greedy continuation is the completion", async () => {
    const prompts = ["ab", "cd", "efg", "n"];
    const generated = await generate(
      model.decoder,
      prompts.map((prompt) => model.codec.encodeStart(prompt)),
      { maxNewTokens: 4 },
    );
    const answers = generated.map((ids) => model.codec.decode(ids));
    const tasks = prompts.map((prompt, i) => ({ prompt, completion: i === 1 ? "nope" : ` ${answers[i]}\n` }));
    const result = await evaluate(model, tasks, { metrics: ["exactMatch"], maxNewTokens: 4 });
    assert.deepEqual(result, { examples: 4, exactMatch: 0.75 });
  });

  it("takes only the first examples when limited, and tells how far it is", async () => {
    const seen: string[] = [];
    const result = await evaluate(model, EXAMPLES, { limit: 2, onProgress: ({ metric, done, total }) => seen.push(`${metric} ${done}/${total}`) });
    assert.equal(result.examples, 2);
    assert.deepEqual(seen, ["loss 2/2", "exactMatch 2/2"]);
  });

  it("says how many examples are longer than the context", async () => {
    const result = await evaluate(model, [...EXAMPLES, { prompt: "a".repeat(80), completion: "b" }], { metrics: ["loss"] });
    assert.equal(result.tooLong, 1);
  });

  it("of a checkpoint on files gives the same, and leaves no tensors", async () => {
    const file = join(temporaryFolder(), "data.jsonl");
    writeFileSync(file, EXAMPLES.map((example) => JSON.stringify(example)).join("\n"));
    const tensors = tf.memory().numTensors;
    assert.deepEqual(await evaluateCheckpoint(model.folder, [file]), await evaluate(model, EXAMPLES));
    assert.equal(tf.memory().numTensors, tensors);
  });

  it("refuses to evaluate on nothing", async () => {
    await rejectsWith("data-missing", () => evaluateCheckpoint(model.folder, []));
    const file = join(temporaryFolder(), "empty.jsonl");
    writeFileSync(file, '{"text": "ab"}\n');
    await rejectsWith("data-no-tokens", () => evaluateCheckpoint(model.folder, [file], { limit: 0 }));
    writeFileSync(file, `${JSON.stringify({ prompt: "ab".repeat(3000), completion: "a" })}\n`);
    await rejectsWith("data-no-tokens", () => evaluateCheckpoint(model.folder, [file], { metrics: ["loss"] }));
  });
  it("can be cancelled", () => rejectsWith("cancelled", () => evaluate(model, EXAMPLES, { signal: AbortSignal.abort() })));
});
