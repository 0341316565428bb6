import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { loadBlas } from "../../merge-core/compute/providers/blas.ts";
import { meanLoss } from "../../merge-core/evaluate/loss.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { readExamples, tokenize } from "../../merge-core/nn/data.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { TRAIN_DEFAULTS, type TrainConfig } from "../../merge-core/train/config.ts";
import type { LogRecord } from "../../merge-core/train/log.ts";
import { defaultSettings } from "../../merge-core/train/make-trainable.ts";
import { type TrainOptions, train } from "../../merge-core/train/train.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

const METHODS = {
  full: { kind: "full" },
  lora: { kind: "lora", r: 2, alpha: 4, dropout: 0.1, targetModules: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] },
} as const;

const OPTIMIZERS: readonly Partial<TrainConfig["optimizer"]>[] = [
  { rule: { name: "lion" } },
  { rule: { name: "sgd" }, loraPro: true },
  { rule: { name: "lora_pro_adamw" } },
  { rule: { name: "adamw_8bit" } },
  { rule: { name: "galore", rank: 2, updateEvery: 3, scale: 0.25 } },
  { rule: { name: "apollo", rank: 2, updateEvery: 3, scale: 1, scaleBy: "channel" } },
  { rule: { name: "frugal", density: 0.25, updateEvery: 4, signRate: 1 } },
  { rule: { name: "mezo", distance: 1e-2, sparsity: 0.5 } },
];

/** A folder with a model and the task "say the letter again", and a config that trains on it. */
function setUp(changes: Partial<TrainConfig> = {}): { folder: string; config: TrainConfig } {
  const folder = temporaryFolder();
  const letters = [..."abcdefgh"];
  const lines = letters.flatMap((a) => letters.map((b) => JSON.stringify({ prompt: `${a}${b}`, completion: b })));
  writeFileSync(join(folder, "train.jsonl"), lines.join("\n"));
  const model = writeTinyModel(join(folder, "model"));
  const data = { train: [join(folder, "train.jsonl")], validation: [join(folder, "train.jsonl")] };
  const config = {
    ...TRAIN_DEFAULTS,
    model,
    data,
    length: { steps: 6 },
    batchSize: 8,
    dtype: "F32",
    optimizer: { ...TRAIN_DEFAULTS.optimizer, lr: 0.02 },
    ...changes,
  } as const;
  return { folder, config };
}

const logOf = (folder: string) =>
  readFileSync(join(folder, "training-log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { step: number; loss: number; lr: number; gradNorm: number; tokensPerSecond: number });

describe("training", () => {
  before(() => initBackend({ threads: 1 }));

  it("stops when the validation loss no longer falls, keeps the best weights, and does so too when it was interrupted", async () => {
    const stopping = { patience: 2, minDelta: 0 };
    // A rate at which the loss soon goes up again.
    const optimizer = { ...TRAIN_DEFAULTS.optimizer, lr: 0.3 };
    const { folder, config } = setUp({ length: { steps: 60 }, evalEvery: 2, saveEvery: 3, earlyStopping: stopping, optimizer });
    const result = await train(config, join(folder, "whole"));
    const log = readFileSync(join(folder, "whole", "training-log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as LogRecord);
    const losses = log.flatMap(({ step, validationLoss: loss }) => (loss === undefined ? [] : [{ step, loss }]));
    const lowest = losses.reduce((best, one) => (one.loss < best.loss ? one : best));
    assert.equal(result.bestStep, lowest.step);
    assert.equal(result.validationLoss, lowest.loss);
    assert.equal(result.steps, lowest.step + 4);
    const model = await loadModel(join(folder, "whole"));
    const examples = await readExamples(join(folder, "train.jsonl"));
    const rows = examples.flatMap((example) => tokenize(example, model.codec, 2, 64));
    assert.ok(Math.abs((await meanLoss(model.decoder, rows, { batchSize: 8 })) - lowest.loss) < 1e-6);
    disposeDecoder(model.decoder);
    const abort = new AbortController();
    await rejectsWith("cancelled", () =>
      train(config, join(folder, "broken"), { signal: abort.signal, onProgress: ({ step }) => step === lowest.step + 1 && abort.abort() }),
    );
    assert.equal((await train(config, join(folder, "broken"))).bestStep, lowest.step);
    const weights = (out: string) => readFileSync(join(folder, out, "model.safetensors"));
    assert.ok(weights("broken").equals(weights("whole")));
    assert.deepEqual(readdirSync(join(folder, "broken")), readdirSync(join(folder, "whole")));
  });

  it("refuses LoRA-Pro where no LoRA is trained", async () => {
    const { folder, config } = setUp({ optimizer: { ...TRAIN_DEFAULTS.optimizer, loraPro: true } });
    await rejectsWith("optimizer-needs-lora", () => train(config, join(folder, "out")));
    const adam = { ...TRAIN_DEFAULTS.optimizer, rule: { name: "lora_pro_adamw" } } as const;
    await rejectsWith("optimizer-needs-lora", () => train({ ...config, optimizer: adam }, join(folder, "out")));
  });

  it("learns a task and writes a model that loads", async () => {
    const { folder, config } = setUp({ length: { steps: 60 }, schedule: { warmupSteps: 5, floor: 0.1 } });
    const out = join(folder, "out");
    const result = await train(config, out, { threads: 1 });
    assert.deepEqual(readdirSync(out).sort(), [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
      "training-log.jsonl",
      "training.json",
    ]);
    const log = logOf(out);
    assert.equal(log.length, 60);
    assert.ok((log[0]?.loss ?? 0) > 1.5 && result.trainLoss < 0.5, `loss went from ${log[0]?.loss} to ${result.trainLoss}`);
    assert.ok(result.validationLoss !== undefined && result.validationLoss < 0.5);
    assert.equal(existsSync(`${out}.partial`), false);
    disposeDecoder((await loadModel(out)).decoder);
  });

  for (const [name, method] of Object.entries(METHODS)) {
    it(`killed and taken up again gives the bytes of an unbroken run, ${name}`, async () => {
      const { folder, config } = setUp({ method, saveEvery: 2, gradientAccumulation: 2, batchSize: 4 });
      const file = name === "full" ? "model.safetensors" : "adapter_model.safetensors";
      await train(config, join(folder, "whole"));
      const abort = new AbortController();
      await rejectsWith("cancelled", () =>
        train(config, join(folder, "broken"), { signal: abort.signal, onProgress: ({ step }) => step === 5 && abort.abort() }),
      );
      assert.equal(existsSync(join(folder, "broken")), false);
      const resumed = await train(config, join(folder, "broken"));
      assert.equal(resumed.resumedFrom, 4);
      assert.ok(readFileSync(join(folder, "whole", file)).equals(readFileSync(join(folder, "broken", file))));
      const losses = (out: string) => logOf(join(folder, out)).map(({ step, loss, lr, gradNorm }) => ({ step, loss, lr, gradNorm }));
      assert.deepEqual(losses("broken"), losses("whole"));
    });

    for (const optimizer of OPTIMIZERS.filter(({ loraPro, rule }) => name === "lora" || (loraPro !== true && rule?.name !== "lora_pro_adamw")))
      it(`resumes to the same bytes with ${optimizer.rule?.name ?? "adamw"}${optimizer.loraPro ? " and LoRA-Pro" : ""}, blocks computed again, ${name}`, async () => {
        const changes = {
          optimizer: { ...TRAIN_DEFAULTS.optimizer, ...optimizer, lr: 0.01, groups: [{ match: "layers.1", rate: 0.5 }] },
          gradientCheckpointing: true,
        };
        const { folder, config } = setUp({ method, saveEvery: 2, ...changes });
        const file = name === "full" ? "model.safetensors" : "adapter_model.safetensors";
        await train(config, join(folder, "whole"));
        const abort = new AbortController();
        await rejectsWith("cancelled", () =>
          train(config, join(folder, "broken"), { signal: abort.signal, onProgress: ({ step }) => step === 5 && abort.abort() }),
        );
        assert.equal((await train(config, join(folder, "broken"))).resumedFrom, 4);
        assert.ok(readFileSync(join(folder, "whole", file)).equals(readFileSync(join(folder, "broken", file))));
      });

    it(`holds no more tensors from step to step, ${name}`, async () => {
      const { folder, config } = setUp({ method, evalEvery: 2, gradientAccumulation: 2, batchSize: 4 });
      const before = tf.memory().numTensors;
      const counts: number[] = [];
      await train(config, join(folder, "out"), { onProgress: () => counts.push(tf.memory().numTensors) });
      assert.equal(new Set(counts).size, 1, counts.join());
      assert.equal(tf.memory().numTensors, before);
    });
  }

  it("gives the same bytes on one thread and on two", async () => {
    const { folder, config } = setUp({ method: METHODS.lora });
    await train(config, join(folder, "one"), { threads: 1 });
    await train(config, join(folder, "two"), { threads: 2 });
    await initBackend({ threads: 1 });
    const bytes = (out: string) => readFileSync(join(folder, out, "adapter_model.safetensors"));
    assert.ok(bytes("one").equals(bytes("two")));
  });

  it("gives the same step however the rows are divided into micro-batches", async () => {
    const { folder, config } = setUp({ length: { steps: 1 } });
    writeFileSync(join(folder, "train.jsonl"), ["abc", "a", "abcdefgh", "ab", "hg", "gfedc", "b", "cc"].map((text) => JSON.stringify({ text })).join("\n"));
    await train(config, join(folder, "one"));
    await train({ ...config, batchSize: 2, gradientAccumulation: 4 }, join(folder, "four"));
    const [one, four] = [logOf(join(folder, "one"))[0], logOf(join(folder, "four"))[0]];
    assert.ok(Math.abs((one?.loss ?? 0) - (four?.loss ?? 1)) < 1e-6, `${one?.loss} and ${four?.loss}`);
    assert.ok(Math.abs((one?.gradNorm ?? 0) - (four?.gradNorm ?? 1)) < 1e-5, `${one?.gradNorm} and ${four?.gradNorm}`);
  });

  it("cancelled without saved states leaves nothing behind", async () => {
    const { folder, config } = setUp();
    await rejectsWith("cancelled", () => train(config, join(folder, "out"), { signal: AbortSignal.abort() }));
    assert.deepEqual(readdirSync(folder).sort(), ["model", "train.jsonl"]);
  });

  it("refuses an output that exists", async () => {
    const { folder, config } = setUp();
    await rejectsWith("output-exists", () => train(config, folder));
  });

  it("refuses to take up a run with another config", async () => {
    const { folder, config } = setUp({ saveEvery: 2 });
    const abort = new AbortController();
    await rejectsWith("cancelled", () => train(config, join(folder, "out"), { signal: abort.signal, onProgress: ({ step }) => step === 3 && abort.abort() }));
    await rejectsWith("resume-other-run", () => train({ ...config, seed: 9 }, join(folder, "out")));
    await train({ ...config, seed: 9 }, join(folder, "out"), { overwrite: true });
  });

  it("refuses data of which nothing fits", async () => {
    const { folder, config } = setUp({ maxLength: 3 });
    await rejectsWith("data-empty", () => train(config, join(folder, "out")));
  });

  it("says so when the numbers blow up", async () => {
    const { folder, config } = setUp({ optimizer: { lr: 1e30, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 } });
    await rejectsWith("training-diverged", () => train(config, join(folder, "out")));
  });

  it("can leave matrix products to the machine's library, and names it", async function () {
    const blas = await loadBlas(1).catch(() => undefined);
    if (blas === undefined) this.skip();
    const { folder, config: small } = setUp({ method: METHODS.lora, batchSize: 64 });
    // Wide enough for products that are worth the way.
    const config = { ...small, model: writeTinyModel(join(folder, "wide"), { hidden_size: 64, intermediate_size: 160 }) };
    const summary = (out: string) => JSON.parse(readFileSync(join(out, "training.json"), "utf8")) as { engine: string; trainLoss: number };
    const run = async (name: string, options: TrainOptions) => {
      await train(config, join(folder, name), { threads: 2, ...options });
      return { ...summary(join(folder, name)), weights: readFileSync(join(folder, name, "adapter_model.safetensors")) };
    };
    const own = await run("own", {});
    const [first, again] = [await run("first", { blas }), await run("again", { blas, threads: 1 })];
    assert.deepEqual([own.engine, first.engine], ["cpu", blas.name]);
    assert.deepEqual(first.weights, again.weights);
    assert.ok(Math.abs(first.trainLoss - own.trainLoss) < 1e-5, `${first.trainLoss} is not ${own.trainLoss}`);
  });

  it("keeps the base in the 16 bits that it is stored in, with the losses and the adapter of one in float32", async () => {
    const families: TrainConfig["method"][] = [
      METHODS.lora,
      ...[
        { family: "LORA", settings: { ...defaultSettings("LORA"), r: 2, use_dora: true } },
        { family: "LORA", settings: { ...defaultSettings("LORA"), r: 2, init_lora_weights: "pissa" } },
        { family: "OFT", settings: { ...defaultSettings("OFT"), oft_block_size: 4 } },
      ].map((one) => ({ kind: "adapter" as const, ...one, dropout: 0, targetModules: ["q_proj", "down_proj"] })),
    ];
    for (const method of families) {
      const { folder, config: base } = setUp({ method });
      const config = { ...base, model: writeTinyModel(join(folder, "half"), {}, 1, "BF16") };
      const run = async (name: string, changes: Partial<TrainConfig>) => {
        await train({ ...config, ...changes }, join(folder, name), { threads: 2 });
        const losses = logOf(join(folder, name)).map(({ loss, gradNorm }) => [loss, gradNorm]);
        return { losses, weights: readFileSync(join(folder, name, "adapter_model.safetensors")) };
      };
      assert.deepEqual(await run("kept", {}), await run("wide", { baseDtype: "float32" }));
    }
  });
});
