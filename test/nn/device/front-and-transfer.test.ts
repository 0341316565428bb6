// Work that trains models by the way, on a device: a stand-in made of tfjs's own cpu backend.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { type DeviceBackend, initDevice } from "../../../merge-core/nn/device/backend.ts";
import { trainFront } from "../../../merge-core/pareto/train-front.ts";
import { readTrainFrontConfig } from "../../../merge-core/pareto/train-front-config.ts";
import { TRAIN_DEFAULTS } from "../../../merge-core/train/config.ts";
import { train } from "../../../merge-core/train/train.ts";
import { TRANSFER_DEFAULTS } from "../../../merge-core/transfer/request.ts";
import { transferAdapter } from "../../../merge-core/transfer/transfer.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";
import { temporaryFolder } from "../../helpers/folders.ts";
import { endDevice, packageFolder, STAND_IN, withPackages } from "../../helpers/tfjs-packages.ts";
import { writeTinyModel } from "../../helpers/tiny-decoder.ts";

describe("a device for fronts and transfers", () => {
  const folder = temporaryFolder();
  const [model, data] = [join(folder, "model"), join(folder, "train.jsonl")];
  before(async () => {
    writeTinyModel(model);
    const letters = [..."abcdef"];
    writeFileSync(data, letters.flatMap((a) => letters.map((b) => JSON.stringify({ prompt: `${a}${b}`, completion: b }))).join("\n"));
    await withPackages(packageFolder("@tensorflow/tfjs-node", STAND_IN), () => initDevice("tfjs-node"));
  });
  after(() => endDevice("tfjs-node"));

  it("trains a network for all preferences there, and measures its front", async () => {
    const file = join(folder, "front.yml");
    const tasks = ["one", "two"].map((name) => `  - { name: ${name}, train: ${data}, validation: ${data} }\n`).join("");
    writeFileSync(file, `model: ${model}\nmethod: palora\ntasks:\n${tasks}steps: 3\nbatch_size: 4\nrank: 2\nfront: 2\n`);
    const settings = await readTrainFrontConfig(file);
    const ours = await trainFront(settings, join(folder, "ours"), { threads: 1 });
    const theirs = await trainFront(settings, join(folder, "theirs"), { device: "tfjs-node" });
    assert.equal(tf.getBackend(), "tfjs-node");
    const values = ({ front }: typeof ours) => front.points.flatMap((point) => point.values.map(Number));
    for (const [i, value] of values(theirs).entries()) assert.ok(Math.abs(value - (values(ours)[i] ?? 9)) < 1e-3, `${value}, ours ${values(ours)[i]}`);
    await rejectsWith("resume-other-run", () => trainFront(settings, join(folder, "ours"), { device: "tfjs-node" }));
  });

  it("leaves what it began to the processor", async () => {
    const settings = await readTrainFrontConfig(join(folder, "front.yml"));
    const out = join(folder, "begun");
    const stop = new AbortController();
    const abortAfterTwo = ({ done }: { done: number }) => void (done === 2 && stop.abort());
    await rejectsWith("cancelled", () => trainFront(settings, out, { device: "tfjs-node", signal: stop.signal, onProgress: abortAfterTwo }));
    const steps: number[] = [];
    await trainFront(settings, out, { threads: 1, onProgress: ({ done, detail }) => void (detail.startsWith("training") && steps.push(done)) });
    assert.deepEqual(steps, [3]);
    assert.deepEqual(JSON.parse(readFileSync(join(out, "front-training.json"), "utf8")).engines, ["tfjs-node", "cpu"]);
  });

  it("transfers an adapter there, from the beginning where another engine had begun", async () => {
    const [adapter, out] = [join(folder, "adapter"), join(folder, "out")];
    const method = { kind: "lora", r: 2, alpha: 4, dropout: 0, targetModules: ["q_proj", "down_proj"] } as const;
    const config = {
      ...TRAIN_DEFAULTS,
      model,
      method,
      data: { train: [data], validation: [] },
      optimizer: { ...TRAIN_DEFAULTS.optimizer, lr: 0.02 },
      length: { steps: 200 },
      batchSize: 8,
    };
    await train(config, adapter, { threads: 1 });
    const settings = { ...TRANSFER_DEFAULTS, lr: 0.02, examples: 20, epochs: 1, generatorSteps: 20, discriminatorSteps: 3, threshold: 0, maxNewTokens: 4 };
    const request = { adapter, from: model, to: model, seeds: data, out, settings };
    const abort = new AbortController();
    const onProgress = ({ stage }: { stage: string }) => stage === "discriminator" && abort.abort();
    await rejectsWith("cancelled", () => transferAdapter({ ...request, threads: 1, signal: abort.signal, onProgress }));
    await transferAdapter({ ...request, device: "tfjs-node" });
    await transferAdapter({ ...request, out: join(folder, "there"), device: "tfjs-node" });
    // Where the device fails, the rest is done here.
    const warnings: string[] = [];
    const lose = ({ stage }: { stage: string }) => stage === "answer" && (tf.findBackend("tfjs-node") as DeviceBackend | null)?.lose();
    const onWarning = ({ code }: { code: string }) => void warnings.push(code);
    await transferAdapter({ ...request, out: join(folder, "lost"), device: "tfjs-node", threads: 1, onProgress: lose, onWarning });
    assert.ok(warnings.includes("device-failed"), warnings.join());
    assert.equal(JSON.parse(readFileSync(join(folder, "lost", "training.json"), "utf8")).engine, "cpu");
    const bytes = (place: string) => readFileSync(join(place, "adapter_model.safetensors"));
    assert.ok(bytes(out).equals(bytes(join(folder, "there"))));
    assert.equal(JSON.parse(readFileSync(join(folder, "there", "training.json"), "utf8")).engine, "tfjs-node");
  });
});
