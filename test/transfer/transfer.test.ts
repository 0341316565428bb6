// Adapters that move to another base: on the sample models, and in small where every number can be checked.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { evaluateCheckpoint } from "../../merge-core/evaluate/evaluate.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { forwardLogits } from "../../merge-core/nn/llama.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { TRAIN_DEFAULTS } from "../../merge-core/train/config.ts";
import { train } from "../../merge-core/train/train.ts";
import { labelled, realness } from "../../merge-core/transfer/discriminator.ts";
import { TRANSFER_DEFAULTS, type TransferRequest } from "../../merge-core/transfer/request.ts";
import { drawPrompts } from "../../merge-core/transfer/synthetic-prompts.ts";
import { transferAdapter } from "../../merge-core/transfer/transfer.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

const ZOO = "media/zoo";
const linesOf = (file: string) => readFileSync(file, "utf8").trim().split("\n");

describe("Transfer of an adapter to another base", () => {
  before(() => initBackend({ threads: 2 }));

  it("teaches a sample model what an adapter of another does, from some prompts alone", async () => {
    const folder = temporaryFolder();
    const [seeds, out] = [join(folder, "seeds.jsonl"), join(folder, "out")];
    const prompts = linesOf(`${ZOO}/data/reverse.validation.jsonl`).slice(0, 24);
    writeFileSync(seeds, prompts.map((line) => JSON.stringify({ prompt: JSON.parse(line).prompt })).join("\n"));
    const settings = { ...TRANSFER_DEFAULTS, lr: 2e-3, examples: 320, epochs: 4, generatorSteps: 40, discriminatorSteps: 40, maxNewTokens: 12 };
    const source = `${ZOO}/adapters/reverse`;
    const result = await transferAdapter({ adapter: source, from: `${ZOO}/base`, to: `${ZOO}/sort`, seeds, out, settings });
    const exactMatch = async (adapter?: string) => {
      const options = { metrics: ["exactMatch"] as const, limit: 100, ...(adapter === undefined ? {} : { adapter }) };
      return (await evaluateCheckpoint(`${ZOO}/sort`, [`${ZOO}/data/reverse.test.jsonl`], options)).exactMatch ?? 0;
    };
    const [untouched, carriedOver, transferred] = [await exactMatch(), await exactMatch(source), await exactMatch(out)];
    assert.ok(transferred > 0.8 && transferred > carriedOver + 0.2 && transferred > untouched + 0.5, `${untouched}, ${carriedOver}, ${transferred}`);
    assert.ok(result.realness.seeds > result.realness.candidates, "the discriminator tells them apart");
    assert.ok(result.accepted < result.candidates);
    // What was learned from is there to be read, and is what the source says: words backwards.
    const data = linesOf(join(out, "generated.jsonl")).map((line) => JSON.parse(line) as { prompt: string; completion: string });
    assert.equal(data.length, result.answered);
    const wellFormed = data.filter(({ prompt }) => /^reverse [a-p]{5,8}=$/.test(prompt));
    const right = wellFormed.filter(({ prompt, completion }) => prompt.slice(8, -1) === [...completion].reverse().join(""));
    assert.ok(wellFormed.length > 40 && right.length > 0.9 * wellFormed.length, `${right.length} of ${wellFormed.length}, ${data.length} in all`);
    assert.equal(JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8")).format, "weightsmith-transfer");
  }).timeout(180_000);

  describe("in small", () => {
    let request: Omit<TransferRequest, "out">;
    let folder: string;
    before(async () => {
      folder = temporaryFolder();
      const [from, to, adapter, seeds] = ["from", "to", "adapter", "seeds.jsonl"].map((name) => join(folder, name)) as [string, string, string, string];
      writeTinyModel(from);
      writeTinyModel(to, { hidden_size: 12, num_key_value_heads: 4 }, 2);
      const letters = [..."abcdef"];
      const lines = letters.flatMap((a) => letters.map((b) => JSON.stringify({ prompt: `${a}${b}`, completion: b })));
      writeFileSync(seeds, lines.join("\n"));
      const method = { kind: "lora", r: 4, alpha: 8, dropout: 0, targetModules: ["q_proj", "o_proj", "up_proj"] } as const;
      const optimizer = { ...TRAIN_DEFAULTS.optimizer, lr: 0.02 };
      await train(
        { ...TRAIN_DEFAULTS, model: from, data: { train: [seeds], validation: [] }, method, optimizer, length: { steps: 200 }, dtype: "F32" },
        adapter,
      );
      const settings = { ...TRANSFER_DEFAULTS, lr: 0.02, examples: 40, epochs: 2, generatorSteps: 20, discriminatorSteps: 10, threshold: 0.3 };
      request = { adapter, from, to, seeds, settings };
    });
    const bytes = (out: string) => readFileSync(join(folder, out, "adapter_model.safetensors"));

    it("gives the same bytes on any number of threads, and when a stopped run is taken up again", async () => {
      const tensors = tf.memory().numTensors;
      const result = await transferAdapter({ ...request, out: join(folder, "one"), threads: 1 });
      await transferAdapter({ ...request, out: join(folder, "two"), threads: 2 });
      assert.ok(bytes("one").equals(bytes("two")));
      for (const stage of ["discriminator", "distil"]) {
        const out = join(folder, stage);
        const abort = new AbortController();
        const onProgress = (p: { stage: string; done: number }) => p.stage === stage && p.done === 2 && abort.abort();
        await rejectsWith("cancelled", () => transferAdapter({ ...request, out, signal: abort.signal, onProgress }));
        assert.ok(!existsSync(out));
        await transferAdapter({ ...request, out });
        assert.ok(bytes(stage).equals(bytes("one")), stage);
        assert.ok(!existsSync(`${out}.partial`));
      }
      assert.equal(tf.memory().numTensors, tensors, "tensors left");
      assert.ok((result.validationLoss ?? 9) < 3, `${result.validationLoss}`);
      // Factors of 4 rows for layers of the other base: q and o [16, 12], [12, 16], up [12, 12], twice.
      assert.equal(result.parameters, 2 * 4 * (28 + 28 + 24));
      await rejectsWith("output-exists", () => transferAdapter({ ...request, out: join(folder, "one") }));
    });

    it("says so where nothing passes for real, and warns of too little", async () => {
      const change = (more: object) => ({ ...request, settings: { ...request.settings, ...more } });
      const none = await rejectsWith("transfer-nothing-real", () => transferAdapter({ ...change({ threshold: 0.99999 }), out: join(folder, "none") }));
      assert.match(none.remedy ?? "", /--threshold/);
      const { warnings } = await transferAdapter({ ...change({ examples: 500, epochs: 1 }), out: join(folder, "few") });
      assert.deepEqual(
        warnings.map(({ code }) => code),
        ["transfer-few-examples"],
      );
    });

    it("refuses a single seed, and layers that the new base lacks", async () => {
      const one = join(folder, "one.jsonl");
      writeFileSync(one, '{"prompt": "a"}');
      await rejectsWith("data-too-few", () => transferAdapter({ ...request, seeds: one, out: join(folder, "no") }));
      for (const targets of [["c_attn"], ["embed_tokens"]])
        await rejectsWith("adapter-target-missing", () => transferAdapter({ ...request, settings: { ...request.settings, targets }, out: join(folder, "no") }));
    });

    it("judges by the probability of yes among yes and no", async () => {
      const model = await loadModel(request.from);
      const [real] = labelled(["abc"], []);
      const [made] = labelled([], ["abc"]);
      assert.equal(real?.prompt, made?.prompt);
      const likelihood = (prompt: string, completion: string) => {
        const [start, whole] = [model.codec.encodeStart(prompt), model.codec.encodeStart(prompt + completion)];
        const logits = forwardLogits(model.decoder, Int32Array.from(whole), 1).dataSync<"float32">();
        const vocab = model.decoder.config.vocabSize;
        return whole.slice(start.length).reduce((product, id, i) => {
          const scores = [...logits.slice((start.length + i - 1) * vocab, (start.length + i) * vocab)].map(Math.exp);
          return (product * (scores[id] ?? 0)) / scores.reduce((sum, score) => sum + score, 0);
        }, 1);
      };
      const [yes, no] = [likelihood(real?.prompt ?? "", real?.completion ?? ""), likelihood(made?.prompt ?? "", made?.completion ?? "")];
      const [judged = 0, tooLong] = await realness(model, ["abc", "a".repeat(99)]);
      assert.ok(Math.abs(judged - yes / (yes + no)) < 1e-5, `${judged} and ${yes / (yes + no)}`);
      assert.equal(tooLong, 0);
      disposeDecoder(model.decoder);
    });

    it("draws prompts that begin as seeds do, others in each round", async () => {
      const model = await loadModel(request.from);
      const draw = (round: number) => drawPrompts(model, ["ab", "ad", "cb"], { count: 30, temperature: 1, seed: 1, round });
      const first = await draw(1);
      assert.ok(first.length > 0 && first.every((prompt) => /^[ac]/.test(prompt)), first.join());
      assert.deepEqual(await draw(1), first);
      assert.notDeepEqual(await draw(2), first);
      disposeDecoder(model.decoder);
    });
  });
});
