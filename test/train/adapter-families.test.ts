// Every family trained on a tiny model: the loss falls, the file that is written says all that training made.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import type { Settings } from "../../merge-core/adapters/family.ts";
import { families } from "../../merge-core/adapters/registry.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { attachAdapter } from "../../merge-core/evaluate/attach-adapter.ts";
import { meanLossBy } from "../../merge-core/evaluate/loss.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { readExamples, type TokenRow, tokenize } from "../../merge-core/nn/data.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { expandAdapter } from "../../merge-core/run/expand-adapter.ts";
import { TRAIN_DEFAULTS, type TrainConfig } from "../../merge-core/train/config.ts";
import { defaultSettings } from "../../merge-core/train/make-trainable.ts";
import { train } from "../../merge-core/train/train.ts";
import { CASES, type FamilyCase, familyOf } from "../helpers/family-table.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";
import { readTensors } from "../oracles/read-tensors.ts";

/** Settings that fit layers of 8 and 12. */
const FITTED: Readonly<Record<string, Record<string, string | number | boolean>>> = {
  HyperFormer: { reduction: 4, embedding: 4, hidden: 6, projected: 5 },
  ASLoRA: { r: 2, merge_from: 3, merge_every: 4, merges: 1 },
  "PaLoRA with base": { r: 2 },
  // Two layers give a pool of four shared chunks.
  MoS: { r: 3, lora_alpha: 6 },
  ETHER: { n_blocks: 2 },
  MoSA: { r: 4, scale: 1 },
  "MoSA shared down": { r: 4, scale: 1 },
  TAPS: { penalty: 0.01 },
  // The distance of A and B from orthogonal ones outweighs the answers' loss where 0.5 is left.
  AdaLoRA: { orth_reg_weight: 0.01 },
};
const MORE: readonly FamilyCase[] = [
  { name: "LayerNorm tuning", type: "LN_TUNING", settings: {}, count: 0 },
  { name: "elastic LoRA", type: "LORA", settings: { r: 4, elastic_ranks: "4,2,1", search_evaluations: 12 }, count: 0 },
  ...[1, 2].map((topk) => ({
    ...{ name: `VB-LoRA, stored as mixtures of ${topk}`, type: "VBLORA", count: 0 },
    settings: { r: 2, num_vectors: 6, vector_length: 4, topk, save_only_topk_weights: true },
  })),
  { name: "LoRA+", type: "LORA", settings: { r: 2, lora_plus_ratio: 4 }, count: 0 },
];

function setUp({ name, type, settings, tasks = 1 }: FamilyCase, changes: Partial<TrainConfig> = {}): { folder: string; config: TrainConfig } {
  const folder = temporaryFolder();
  const letters = [..."abcdef"];
  const files = Array.from({ length: tasks }, (_, task) => {
    const file = join(folder, `train-${task}.jsonl`);
    // Task 0 says the last letter again, task 1 the first.
    const lines = letters.flatMap((a) => letters.map((b) => JSON.stringify({ prompt: `${a}${b}`, completion: task === 0 ? b : a })));
    writeFileSync(file, lines.join("\n"));
    return file;
  });
  const family = familyOf({ type });
  const linear = family.math === undefined ? [] : name === "HyperFormer" ? ["o_proj", "down_proj"] : ["q_proj", "o_proj", "up_proj"];
  const targetModules = [...linear, ...(family.replaces === undefined ? [] : ["input_layernorm", "norm"])];
  const all = { ...defaultSettings(type), ...settings, ...FITTED[name] };
  const config: TrainConfig = {
    ...TRAIN_DEFAULTS,
    model: writeTinyModel(join(folder, "model")),
    data: { train: files, validation: files },
    method: { kind: "adapter", family: type, targetModules, dropout: 0, settings: all },
    length: { steps: 16 },
    batchSize: 16,
    dtype: "F32",
    optimizer: { ...TRAIN_DEFAULTS.optimizer, lr: 0.02, weightDecay: 0 },
    ...changes,
  };
  return { folder, config };
}

const logOf = (folder: string) =>
  readFileSync(join(folder, "training-log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { step: number; loss: number; gradNorm: number });

async function rowsOf(config: TrainConfig): Promise<TokenRow[]> {
  const model = await loadModel(config.model);
  disposeDecoder(model.decoder);
  const rows = await Promise.all(
    config.data.train.map(async (file, task) =>
      (await readExamples(file)).flatMap((example) => tokenize(example, model.codec, 2, 64)).map((row) => ({ ...row, task })),
    ),
  );
  return rows.flat();
}

describe("Training of every adapter family", () => {
  before(() => initBackend({ threads: 1 }));

  it("covers them all", () => {
    const tested = new Set([...CASES, ...MORE].map(({ type }) => type));
    assert.deepEqual(
      families.filter(({ training, type }) => training !== undefined && !tested.has(type)).map(({ type }) => type),
      [],
    );
  });

  for (const testCase of [...CASES, ...MORE]) {
    it(`lowers the loss, and its file gives the trained model again: ${testCase.name}`, async () => {
      const { folder, config } = setUp(testCase);
      const out = join(folder, "out");
      const before = tf.memory().numTensors;
      const result = await train(config, out, { threads: 1 });
      assert.equal(tf.memory().numTensors, before, "tensors left");
      const log = logOf(out);
      const [first, last] = [log.slice(0, 4), log.slice(-4)].map((part) => part.reduce((sum, { loss }) => sum + loss, 0) / 4);
      assert.ok((last ?? 9) < (first ?? 0), `loss went from ${first} to ${last}`);
      assert.ok(result.parameters > 0);
      const loss = await lossOfFile(config, out);
      assert.ok(Math.abs(loss - (result.validationLoss ?? 0)) < 1e-5, `the file's loss is ${loss}, training's ${result.validationLoss}`);
      if (familyOf(testCase).foldable === "exact") assert.ok(Math.abs((await lossOfFolded(config, out)) - (result.validationLoss ?? 0)) < 1e-4, "folded");
    });
  }

  const byName = (name: string) => CASES.find((c) => c.name === name) ?? assert.fail();
  for (const name of ["ShareLoRA ab", "ASLoRA", "MoS", "VB-LoRA", "VeRA", "LoHa", "LoRETTA", "MiSS", "PSOFT", "PiSSA"]) {
    it(`is expanded to a LoRA that does the same: ${name}`, async () => {
      const { folder, config } = setUp(byName(name), { length: { steps: 6 } });
      const { validationLoss } = await train(config, join(folder, "out"));
      const base = await openCheckpoint(config.model);
      const { parameters } = await expandAdapter({ adapter: join(folder, "out"), out: join(folder, "lora"), base });
      assert.equal(JSON.parse(readFileSync(join(folder, "lora", "adapter_config.json"), "utf8")).peft_type, "LORA");
      assert.ok(parameters > 0);
      assert.ok(Math.abs((await lossOfFolded(config, join(folder, "lora"))) - (validationLoss ?? 0)) < 1e-5);
    });
  }

  for (const [name, choice, task] of [
    ["Polytropon", "2", 2],
    ["MHR", "1", 1],
    ["PaLoRA", "0.5,0.5", undefined],
    ["MoSA lora", "joint", undefined],
  ] as const) {
    it(`is expanded to the LoRA of one choice: ${name}`, async () => {
      const { folder, config } = setUp(byName(name), { length: { steps: 6 } });
      const [out, lora] = [join(folder, "out"), join(folder, "lora")];
      await train(config, out);
      const base = await openCheckpoint(config.model);
      await assert.rejects(expandAdapter({ adapter: out, out: lora, base }), /--choice/);
      await expandAdapter({ adapter: out, out: lora, base, choice });
      const rows = (await rowsOf(config)).filter((row) => task === undefined || row.task === task);
      assert.ok(Math.abs((await lossOfFile(config, out, rows)) - (await lossOfFolded(config, lora, rows))) < 1e-5);
    });
  }

  it("chooses ranks by the validation loss at the total of the middle ones, and keeps the scale", async () => {
    const elastic = { name: "", type: "LORA", settings: { r: 4, lora_alpha: 6, elastic_ranks: "4,3,2" }, count: 0 };
    const { folder, config } = setUp(elastic);
    const middle = await train(config, join(folder, "middle"));
    const search = { ...elastic, settings: { ...elastic.settings, search_evaluations: 20 } };
    const searched = await train({ ...config, method: setUp(search).config.method }, join(folder, "searched"));
    assert.ok((searched.validationLoss ?? 9) < (middle.validationLoss ?? 0), `${searched.validationLoss} and ${middle.validationLoss}`);
    const { rank_pattern, alpha_pattern } = JSON.parse(readFileSync(join(folder, "searched", "adapter_config.json"), "utf8"));
    const ranks = Object.values(rank_pattern as Record<string, number>);
    assert.ok(new Set(ranks).size > 1);
    assert.deepEqual(
      Object.values(alpha_pattern),
      ranks.map((rank) => (6 * rank) / 4),
    );
  });

  it("chooses widths and ranks by the validation loss at the totals of the middle ones", async () => {
    const lonas = (search: number) => ({
      name: "",
      type: "x-weightsmith-lonas",
      settings: { r: 4, elastic_ranks: "4,3,2", elastic_widths: "1,0.75,0.5", elastic_modules: "up_proj", search_evaluations: search },
      count: 0,
    });
    const { folder, config } = setUp(lonas(0));
    const middle = await train(config, join(folder, "middle"));
    const searched = await train({ ...config, method: setUp(lonas(24)).config.method }, join(folder, "searched"));
    assert.ok((searched.validationLoss ?? 9) < (middle.validationLoss ?? 0), `${searched.validationLoss} and ${middle.validationLoss}`);
    const tensors = await readTensors(join(folder, "searched", "adapter_model.safetensors"));
    const kept = [...tensors].filter(([name]) => name.endsWith("up_proj.lonas_kept")).map(([, { shape }]) => shape[0] ?? 0);
    // Two layers of 12 outputs, 9 of them in the middle.
    assert.ok(kept.length === 2 && kept.reduce((sum, n) => sum + n, 0) <= 18, kept.join());
    const { rank_pattern: ranks } = JSON.parse(readFileSync(join(folder, "searched", "adapter_config.json"), "utf8"));
    assert.ok(Object.values<number>(ranks).reduce((sum, n) => sum + n, 0) <= 3 * Object.keys(ranks).length);
    assert.ok(Math.abs((await lossOfFolded(config, join(folder, "searched"))) - (searched.validationLoss ?? 0)) < 1e-4);
  });

  it("refuses AdaLoRA where no gradients are taken", async () => {
    const { folder, config } = setUp(byName("AdaLoRA"), { optimizer: { ...TRAIN_DEFAULTS.optimizer, rule: { name: "mezo", distance: 1e-2, sparsity: 0 } } });
    await assert.rejects(train(config, join(folder, "out")), /ranks by gradients/);
  });

  it("goes on from an adapter: one LoRA from the mean of a multi-task run's skills, the router alone, and any other of its shape", async () => {
    const poly = byName("Polytropon");
    const { folder, config } = setUp(poly, { length: { steps: 6 } });
    const [out, mean] = [join(folder, "out"), join(folder, "mean")];
    const whole = await train(config, out);
    await expandAdapter({ adapter: out, out: mean, base: await openCheckpoint(config.model), choice: "mean" });
    const method = (type: string, settings: Settings, from: string) =>
      ({ ...config, method: { ...config.method, family: type, settings: { ...defaultSettings(type), ...settings }, from } }) as TrainConfig;
    const first = (folder_: string) => logOf(folder_)[0]?.loss ?? 0;
    await train(method("LORA", { r: 2, lora_alpha: 2 }, mean), join(folder, "lora"));
    assert.ok(first(join(folder, "lora")) < first(out), "starts better than from nothing");
    await train(method("POLY", { r: 2, n_tasks: 3, router_only: true }, out), join(folder, "router"));
    const skills = (from: string) =>
      readTensors(join(from, "adapter_model.safetensors")).then((t) => [...t].filter(([name]) => name.includes("poly_lora")).map(([, { data }]) => data));
    assert.deepEqual(await skills(join(folder, "router")), await skills(out));
    assert.ok((await train(method("POLY", { r: 2, n_tasks: 3 }, out), join(folder, "more"))).trainLoss < whole.trainLoss);
    await assert.rejects(train(method("POLY", { r: 4, n_tasks: 3 }, out), join(folder, "no")), /is not of the shape that training starts with/);
    await assert.rejects(train(method("LORA", { r: 2 }, out), join(folder, "no")), /adapters of its own family/);
  });

  it("merges the experts of a mixture in the shares that were asked for, and refuses others", async () => {
    const { folder, config } = setUp(byName("mixture of LoRAs"), { length: { steps: 6 } });
    const base = await openCheckpoint(config.model);
    await train(config, join(folder, "out"));
    for (const choice of ["uniform", "usage"]) await expandAdapter({ adapter: join(folder, "out"), out: join(folder, choice), base, choice });
    assert.notDeepEqual(...(["uniform", "usage"].map((choice) => readFileSync(join(folder, choice, "adapter_model.safetensors"))) as [Buffer, Buffer]));
    await assert.rejects(expandAdapter({ adapter: join(folder, "out"), out: join(folder, "no"), base, choice: "best" }), /uniform, usage/);
    await assert.rejects(expandAdapter({ adapter: join(folder, "out"), out: join(folder, "no"), choice: "uniform" }), /--base/);
    assert.equal(existsSync(join(folder, "no.partial")), false);
  });

  it("does not expand what no product of low rank is", async () => {
    const { folder, config } = setUp(byName("IA3"), { length: { steps: 1 } });
    await train(config, join(folder, "out"));
    await assert.rejects(expandAdapter({ adapter: join(folder, "out"), out: join(folder, "no") }), /adapter extract/);
  });

  for (const [what, type, settings, expected] of [
    ["a block size that divides no side", "OFT", { oft_block_size: 5 }, /oft_block_size does not divide the sides of/],
    ["half a rank", "LORA", { r: 1.5 }, /r is not usable.*1\.5.*whole number/s],
    ["more weights than an output has", "x-weightsmith-neuroada", { k: 99 }, /ask for more than .*q_proj/s],
    ["a pool that is too small", "x-weightsmith-mos", { r: 64 }, /fewer shared chunks/],
    ["elastic ranks of principal directions", "LORA", { r: 4, elastic_ranks: "4,2", init_lora_weights: "pissa" }, /leaves the base as it is/],
    ["a start that there is not", "LORA", { init_lora_weights: "eva" }, /eva.*pissa, olora/s],
    ["a single mirror", "HRA", { r: 3 }, /mirrors come in pairs/],
  ] as const) {
    it(`refuses ${what} before it trains`, async () => {
      const { folder, config } = setUp({ name: what, type, settings, count: 0 });
      await assert.rejects(train(config, join(folder, "out")), (error: Error) => expected.test(error.message));
    });
  }

  for (const name of ["AdaLoRA", "LoNAS", "ASLoRA", "MoSA", "mixture of LoRAs", "Polytropon", "FISH mask", "PaLoRA with base"]) {
    it(`killed and taken up again gives the bytes of an unbroken run: ${name}`, async () => {
      const { folder, config } = setUp(CASES.find((c) => c.name === name) ?? assert.fail(), { length: { steps: 8 }, saveEvery: 3 });
      await train(config, join(folder, "whole"));
      const abort = new AbortController();
      await assert.rejects(train(config, join(folder, "broken"), { signal: abort.signal, onProgress: ({ step }) => step === 5 && abort.abort() }));
      const resumed = await train(config, join(folder, "broken"));
      assert.equal(resumed.resumedFrom, 3);
      const bytes = (out: string) => readFileSync(join(folder, out, "adapter_model.safetensors"));
      assert.ok(bytes("whole").equals(bytes("broken")));
    });
  }
});

async function lossOfFile(config: TrainConfig, adapter: string, rows?: readonly TokenRow[]): Promise<number> {
  const { decoder } = await loadModel(config.model);
  const attached = await attachAdapter(decoder, adapter);
  const loss = await meanLossBy(attached.decoderOf, decoder.config, rows ?? (await rowsOf(config)), { batchSize: 16 });
  attached.dispose();
  disposeDecoder(decoder);
  return loss;
}

async function lossOfFolded(config: TrainConfig, adapter: string, rows?: readonly TokenRow[]): Promise<number> {
  const text = `merge_method: passthrough\ndtype: float32\nmodels: [{model: {model: {path: ${config.model}}, lora: {path: ${adapter}}}}]\n`;
  const { recipe, diagnostics } = parseRecipe(text, "recipe.yml");
  assert.ok(recipe, JSON.stringify(diagnostics));
  const { plan, diagnostics: problems } = await planMerge(recipe, modelOpener("recipe.yml"));
  assert.ok(plan, JSON.stringify(problems));
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, threads: 1 });
  const { decoder } = await loadModel(out);
  const loss = await meanLossBy(() => decoder, decoder.config, rows ?? (await rowsOf(config)), { batchSize: 16 });
  disposeDecoder(decoder);
  return loss;
}
