// The device's packages are stand-ins made of tfjs's own cpu backend; with tfjs-backend-webgpu and a software driver, it is run as well.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { findPackage } from "../../../merge-core/compute/providers/find-package.ts";
import { restoreNodeUtil, setNavigator } from "../../../merge-core/compute/providers/load-tfjs.ts";
import { evaluateCheckpoint } from "../../../merge-core/evaluate/evaluate.ts";
import { evaluateRecipe } from "../../../merge-core/evaluate/evaluators.ts";
import { builtinMetric } from "../../../merge-core/evaluate/metric-spec.ts";
import { initBackend } from "../../../merge-core/nn/backend.ts";
import { type DeviceBackend, initDevice, openDevice } from "../../../merge-core/nn/device/backend.ts";
import { openDeviceProducts } from "../../../merge-core/nn/device/products.ts";
import { liveValues, readValues } from "../../../merge-core/nn/storage.ts";
import { runMerge } from "../../../merge-core/run/execute.ts";
import { TRAIN_DEFAULTS, type TrainConfig } from "../../../merge-core/train/config.ts";
import type { LogRecord } from "../../../merge-core/train/log.ts";
import { train } from "../../../merge-core/train/train.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";
import { temporaryFolder } from "../../helpers/folders.ts";
import { floatTensor, writeModel } from "../../helpers/models.ts";
import { planByHand } from "../../helpers/plans.ts";
import { softwareGpu } from "../../helpers/software-gpu.ts";
import { endDevice, packageFolder, STAND_IN, withPackages } from "../../helpers/tfjs-packages.ts";
import { writeTinyModel } from "../../helpers/tiny-decoder.ts";

const LORA = { kind: "lora", r: 2, alpha: 4, dropout: 0.1, targetModules: ["q_proj", "v_proj", "down_proj"] } as const;
const standIn = (name = "@tensorflow/tfjs-node") => packageFolder(name, STAND_IN);

function setUp(changes: Partial<TrainConfig>): { folder: string; config: TrainConfig } {
  const folder = temporaryFolder();
  const data = join(folder, "train.jsonl");
  const letters = [..."abcdef"];
  writeFileSync(data, letters.flatMap((a) => letters.map((b) => JSON.stringify({ prompt: `${a}${b}`, completion: b }))).join("\n"));
  const model = writeTinyModel(join(folder, "model"));
  const common = { model, data: { train: [data], validation: [data] }, length: { steps: 4 }, batchSize: 8, dtype: "F32" } as const;
  return { folder, config: { ...TRAIN_DEFAULTS, ...common, optimizer: { ...TRAIN_DEFAULTS.optimizer, lr: 0.01 }, ...changes } };
}

const lossesOf = (out: string) =>
  readFileSync(join(out, "training-log.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as LogRecord).loss);

describe("a device", () => {
  before(() => withPackages(standIn(), () => initDevice("tfjs-node")));
  beforeEach(() => initDevice("tfjs-node"));
  after(() => endDevice("tfjs-node"));

  it("holds tensors of all numeric types, shares them between shapes and lets them go", () => {
    const before = tf.engine().backend.numDataIds();
    const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [2, 3]);
    const ids = tf.tensor1d([1, 0], "int32");
    const [y, yes] = tf.tidy(() => [tf.gather(tf.reshape(x, [3, 2]), ids), tf.greater(x, 3)]);
    assert.deepEqual([...(y as tf.Tensor).dataSync()], [3, 4, 1, 2]);
    assert.deepEqual([(yes as tf.Tensor).dtype, ...(yes as tf.Tensor).dataSync()], ["bool", 0, 0, 0, 1, 1, 1]);
    tf.dispose([x, ids, y, yes] as tf.Tensor[]);
    assert.equal(tf.engine().backend.numDataIds(), before);
  });

  it("knows the shapes of packed and unpacked tensors without asking, and casts to the same type without work", () => {
    const x = tf.tensor3d([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [3, 2, 2]);
    for (const axis of [0, 1, 2, -1]) {
      const parts = tf.unstack(x, axis);
      const back = tf.stack(parts, axis);
      assert.deepEqual([back.shape, ...back.dataSync()], [x.shape, ...x.dataSync()]);
    }
    const [first, second] = tf.unstack(x, 1) as [tf.Tensor, tf.Tensor];
    assert.deepEqual([first.shape, ...first.dataSync(), ...second.dataSync()], [[3, 2], 1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]);
    assert.deepEqual([...tf.cast(x, "float32").dataSync()], [...x.dataSync()]);
    assert.deepEqual([...tf.cast(tf.mul(x, 0.5), "int32").dataSync()], [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]);
  });

  it("sees what was written to live values, each time they are asked for", () => {
    const x = tf.tensor1d([1, 2]);
    const values = liveValues(x);
    for (const value of [5, 7]) {
      assert.equal(liveValues(x), values);
      values[0] = value;
      assert.deepEqual([...readValues(tf.add(x, 1))], [value + 1, 3]);
    }
  });

  it("takes tensors over from our backend and gives them back", async () => {
    await initBackend({ threads: 1 });
    const x = tf.tensor1d([1, 2, 3]);
    await initDevice("tfjs-node");
    const doubled = tf.add(x, x);
    await initBackend({ threads: 1 });
    assert.deepEqual([...tf.add(doubled, 1).dataSync()], [3, 5, 7]);
  });

  it("takes what lies in memory that threads share", () => {
    const x = tf.tensor1d(new Float32Array(new SharedArrayBuffer(8)));
    assert.deepEqual([...tf.add(x, 1).dataSync()], [1, 1]);
  });

  it("gives the shapes that it foresees", () => {
    const x = tf.tensor3d(
      Array.from({ length: 24 }, (_, i) => i),
      [2, 3, 4],
    );
    const shapes = [tf.transpose(x, [2, 0, 1]), tf.sum(x, 1), tf.mean(x, [0, 2], true), tf.matMul(x, x, false, true), tf.matMul(x, x, true), tf.add(x, 1)];
    assert.deepEqual(
      shapes.map(({ shape }) => shape),
      [
        [4, 2, 3],
        [2, 4],
        [1, 3, 1],
        [2, 3, 3],
        [2, 4, 4],
        [2, 3, 4],
      ],
    );
    // The device compares; it tells at the next reading.
    for (const tensor of shapes) tensor.dataSync();
  });

  const adamw = { ...TRAIN_DEFAULTS.optimizer, lr: 0.01 };
  const RUNS: Record<string, Partial<TrainConfig>> = {
    full: {},
    "full with blocks computed again": { gradientCheckpointing: true },
    lora: { method: LORA, gradientAccumulation: 2, batchSize: 4 },
    "lora-pro": { method: LORA, optimizer: { ...adamw, loraPro: true } },
    adamw_8bit: { optimizer: { ...adamw, rule: { name: "adamw_8bit" } } },
    galore: { optimizer: { ...adamw, rule: { name: "galore", rank: 2, updateEvery: 3, scale: 0.25 } } },
    mezo: { optimizer: { ...adamw, rule: { name: "mezo", distance: 1e-2, sparsity: 0.5 } } },
  };
  for (const [name, changes] of Object.entries(RUNS))
    it(`trains along the curve of our engine: ${name}`, async () => {
      const { folder, config } = setUp(changes);
      const [ours, theirs] = [join(folder, "ours"), join(folder, "theirs")];
      const here = await train(config, ours, { threads: 1 });
      const there = await train(config, theirs, { device: "tfjs-node" });
      assert.equal(tf.getBackend(), "tfjs-node");
      const expected = lossesOf(ours);
      assert.notEqual(expected[0], expected.at(-1));
      for (const [i, loss] of lossesOf(theirs).entries()) assert.ok(Math.abs(loss - (expected[i] ?? 0)) < 2e-5, `step ${i + 1}: ${loss}, ours ${expected[i]}`);
      assert.ok(Math.abs((here.validationLoss ?? 0) - (there.validationLoss ?? 9)) < 2e-5);
    });

  it("measures a model as our engine does, generated text included", async () => {
    const { config } = setUp({});
    const ours = await evaluateCheckpoint(config.model, config.data.train, { threads: 1 });
    const theirs = await evaluateCheckpoint(config.model, config.data.train, { device: "tfjs-node" });
    assert.ok(Math.abs((ours.loss ?? 0) - (theirs.loss ?? 9)) < 1e-5);
    assert.deepEqual([theirs.exactMatch, theirs.tokens], [ours.exactMatch, ours.tokens]);
  });

  it("measures a recipe, merged by our threads, as our engine does", async () => {
    const { config } = setUp({});
    const recipe = { text: `merge_method: linear\nmodels:\n  - model: ${config.model}\n    parameters: { weight: 0.5 }\n`, file: "recipe.yml" };
    const metrics = [builtinMetric("loss", config.data.train, { name: "loss" })];
    const [ours, theirs] = [await evaluateRecipe(recipe, metrics, { threads: 1 }), await evaluateRecipe(recipe, metrics, { threads: 1, device: "tfjs-node" })];
    assert.equal(tf.getBackend(), "tfjs-node");
    assert.ok(Math.abs((ours.loss ?? 0) - (theirs.loss ?? 9)) < 1e-5, `${theirs.loss}, ours ${ours.loss}`);
  });

  it("does not take up a run of another engine", async () => {
    const { folder, config } = setUp({ saveEvery: 1 });
    const abort = new AbortController();
    const stop = { signal: abort.signal, onProgress: ({ step }: LogRecord) => step === 2 && abort.abort() };
    await rejectsWith("cancelled", () => train(config, join(folder, "out"), stop));
    await rejectsWith("resume-other-run", () => train(config, join(folder, "out"), { device: "tfjs-node" }));
  });
});

describe("a merge on a device", () => {
  const values = (seed: number) => Array.from({ length: 48 }, (_, i) => Math.sin(seed * 5 + i));
  const models = [0, 1, 2].map((seed) => writeModel([floatTensor("a", [6, 8], values(seed), "F32"), floatTensor("b", [8, 6], values(seed + 3), "F32")]));
  async function mergeOn(source: string | undefined) {
    const gpu = source === undefined ? undefined : await withPackages(packageFolder("@tensorflow/tfjs-node", source), () => openDeviceProducts("tfjs-node", 0));
    const modelParameters = models.map(() => ({ weight: 1 }));
    const plan = await planByHand({ method: "iso_c", models, baseFolder: models[0] as string, modelParameters, parameters: { alpha: 1, normalize: 1 } });
    const out = join(temporaryFolder(), "out");
    try {
      const { warnings } = await runMerge(plan, { out, threads: 1, gpu });
      const { engine } = JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8")) as { engine: string };
      const bytes = readFileSync(join(out, "model.safetensors"));
      const start = 8 + Number(bytes.readBigUInt64LE(0));
      const merged = new Float32Array(bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + start + 2 * 48 * 4));
      return { engine, merged, warnings: warnings.filter(({ code }) => code === "gpu-failed") };
    } finally {
      await gpu?.close();
    }
  }
  function assertNear(found: Float32Array, expected: Float32Array): void {
    for (const [i, x] of found.entries()) assert.ok(Math.abs(x - (expected[i] as number)) < 1e-4, `element ${i}: ${x}, ours ${expected[i]}`);
  }

  it("multiplies there, and says so", async () => {
    const [found, expected] = [await mergeOn(STAND_IN), await mergeOn(undefined)];
    assert.equal(found.engine, "tfjs-node cpu 4.22.0");
    assertNear(found.merged, expected.merged);
    assert.deepEqual(found.warnings, []);
  });

  it("goes on with our kernels where the device fails on the way", async () => {
    const failing = `${STAND_IN}
      const { kernelFunc } = tf.getKernel("BatchMatMul", "cpu");
      let calls = 0;
      tf.unregisterKernel("BatchMatMul", "cpu");
      tf.registerKernel({ kernelName: "BatchMatMul", backendName: "cpu", kernelFunc: (call) => {
        if (++calls === 3) throw new Error("out of memory when allocating a tensor");
        return kernelFunc(call);
      } });`;
    const [found, expected] = [await mergeOn(failing), await mergeOn(undefined)];
    assertNear(found.merged, expected.merged);
    assert.equal(found.warnings.length, 1);
    assert.match(`${found.warnings[0]?.message} ${found.warnings[0]?.found}`, /from a on the built-in engine.*out of memory/);
  });
});

describe("a device that cannot be had", () => {
  const open = (source: string) => withPackages(packageFolder("@tensorflow/tfjs-node-gpu", source), () => openDevice("tfjs-node-gpu"));

  it("says that its addon is missing", () =>
    assert.rejects(open('throw new Error("The Node.js native addon module (tfjs_binding.node) can not be found at path: x");'), /native addon module/));

  it("says that a part of it is missing", () => assert.rejects(open('require("no-such-part");'), /no-such-part/));

  it("fails with a diagnostic if the first operation throws", async () => {
    const source = `${STAND_IN}\ntf.unregisterKernel("Exp", "cpu");
      tf.registerKernel({ kernelName: "Exp", backendName: "cpu", kernelFunc: () => { throw new TypeError("(0 , util_1.isNullOrUndefined) is not a function"); } });`;
    await withPackages(packageFolder("@tensorflow/tfjs-node-gpu", source), () => initDevice("tfjs-node-gpu"));
    const x = tf.tensor1d([1]);
    assert.throws(() => tf.exp(x).dataSync(), /device-failed.*isNullOrUndefined.*--device cpu/s);
    x.dispose();
    await endDevice("tfjs-node-gpu");
  });
});

describe("a device that fails on the way", () => {
  beforeEach(() => withPackages(standIn(), () => initDevice("tfjs-node")));
  afterEach(() => endDevice("tfjs-node"));

  const lose = () => (tf.findBackend("tfjs-node") as DeviceBackend | null)?.lose();
  const loseAfter = (last: number) => (p: LogRecord) => void (p.step === last && lose());
  const writtenBy = (out: string) => JSON.parse(readFileSync(join(out, "training.json"), "utf8")) as { engine: string; engines?: unknown };
  function assertCurve(found: string, expected: string): void {
    const ours = lossesOf(expected);
    assert.equal(lossesOf(found).length, ours.length);
    for (const [i, loss] of lossesOf(found).entries()) assert.ok(Math.abs(loss - (ours[i] ?? 9)) < 2e-5, `step ${i + 1}: ${loss}, ours ${ours[i]}`);
  }

  const adamw = { ...TRAIN_DEFAULTS.optimizer, lr: 0.01 };
  const RUNS: Record<string, { changes: Partial<TrainConfig>; from: number }> = {
    full: { changes: {}, from: 2 },
    lora: { changes: { method: LORA }, from: 2 },
    galore: { changes: { optimizer: { ...adamw, rule: { name: "galore", rank: 2, updateEvery: 3, scale: 0.25 } } }, from: 2 },
    // Its parameters are halfway along a direction then.
    "mezo, from its last saved state": { changes: { saveEvery: 1, optimizer: { ...adamw, rule: { name: "mezo", distance: 1e-2, sparsity: 0 } } }, from: 2 },
    "mezo, from the beginning where none was saved": { changes: { optimizer: { ...adamw, rule: { name: "mezo", distance: 1e-2, sparsity: 0 } } }, from: 0 },
  };
  for (const [name, { changes, from }] of Object.entries(RUNS))
    it(`leaves training to our engine after the last step that it did: ${name}`, async () => {
      const { folder, config } = setUp(changes);
      const [ours, theirs] = [join(folder, "ours"), join(folder, "theirs")];
      const here = await train(config, ours, { threads: 1 });
      await initDevice("tfjs-node");
      const warnings: string[] = [];
      const onWarning = ({ code, found }: { code: string; found?: string }) => warnings.push(`${code}: ${found}`);
      const there = await train(config, theirs, { device: "tfjs-node", threads: 1, onProgress: loseAfter(2), onWarning });
      assert.deepEqual([there.resumedFrom, there.engine, there.steps], [from, "cpu", 4]);
      const spans = [
        { engine: "tfjs-node", from: 1 },
        { engine: "cpu", from: 3 },
      ];
      assert.deepEqual(writtenBy(theirs).engines, from === 0 ? undefined : spans);
      assert.deepEqual(warnings, ["device-failed: given up", ...(from === 0 ? [] : ["engine-changed: tfjs-node from step 1, cpu from step 3"])]);
      assertCurve(theirs, ours);
      assert.ok(Math.abs((here.validationLoss ?? 0) - (there.validationLoss ?? 9)) < 2e-5);
      assert.deepEqual(
        readdirSync(folder).filter((file) => file.endsWith(".partial")),
        [],
      );
    });

  it("loses no step where it fails in a validation", async () => {
    const { folder, config } = setUp({ evalEvery: 2, earlyStopping: { patience: 3, minDelta: 0 } });
    const long = join(folder, "long.jsonl");
    writeFileSync(long, JSON.stringify({ prompt: "abcdef".repeat(4), completion: "a" }));
    const own = { ...config, data: { ...config.data, validation: [long] } };
    const refusing = `${STAND_IN}
      const { kernelFunc } = tf.getKernel("GatherV2", "cpu");
      tf.unregisterKernel("GatherV2", "cpu");
      tf.registerKernel({ kernelName: "GatherV2", backendName: "cpu", kernelFunc: (call) => {
        if (call.inputs.indices.shape.at(-1) > 16 && call.inputs.indices.shape.at(-1) < 32) throw new Error("out of memory");
        return kernelFunc(call);
      } });`;
    await endDevice("tfjs-node");
    await withPackages(packageFolder("@tensorflow/tfjs-node", refusing), () => initDevice("tfjs-node"));
    const there = await train(own, join(folder, "theirs"), { device: "tfjs-node", threads: 1 });
    const here = await train(own, join(folder, "ours"), { threads: 1 });
    assert.deepEqual([there.resumedFrom, there.bestStep], [2, here.bestStep]);
    assertCurve(join(folder, "theirs"), join(folder, "ours"));
    assert.ok(Math.abs((here.validationLoss ?? 0) - (there.validationLoss ?? 9)) < 2e-5);
  });

  it("leaves a run that is stopped after its failure to the same command, with the device or without", async () => {
    const { folder, config } = setUp({});
    await train(config, join(folder, "ours"), { threads: 1 });
    for (const again of [{ device: "tfjs-node" }, {}] as const) {
      const out = join(folder, `theirs-${again.device ?? "cpu"}`);
      const abort = new AbortController();
      const onProgress = ({ step }: LogRecord) => {
        if (step === 1) lose();
        if (step === 2) abort.abort();
      };
      await withPackages(standIn(), () => initDevice("tfjs-node"));
      await rejectsWith("cancelled", () => train(config, out, { device: "tfjs-node", threads: 1, onProgress, signal: abort.signal }));
      const result = await withPackages(standIn(), () => train(config, out, { ...again, threads: 1 }));
      assert.deepEqual([result.resumedFrom, result.engine], [1, again.device ?? "cpu"]);
      assertCurve(out, join(folder, "ours"));
    }
  });

  it("leaves measuring to our engine", async () => {
    const { config } = setUp({});
    const ours = await evaluateCheckpoint(config.model, config.data.train, { threads: 1, batchSize: 8 });
    await initDevice("tfjs-node");
    let lost = false;
    const onProgress = () => {
      if (!lost) lose();
      lost = true;
    };
    const warnings: string[] = [];
    const theirs = await evaluateCheckpoint(config.model, config.data.train, {
      ...{ device: "tfjs-node", threads: 1, batchSize: 8, onProgress },
      onWarning: ({ code }) => warnings.push(code),
    } as const);
    assert.deepEqual([warnings, theirs], [["device-failed"], ours]);
  });

  it("leaves metrics of recipes to our engine, under our engine's name in the cache", async () => {
    const { folder, config } = setUp({});
    const recipe = { text: `merge_method: linear\nmodels:\n  - model: ${config.model}\n    parameters: { weight: 0.5 }\n`, file: "recipe.yml" };
    const metrics = [builtinMetric("loss", config.data.train, { name: "loss" }), builtinMetric("exact_match", config.data.train, { name: "exact" })];
    const cacheFile = join(folder, "cache.jsonl");
    const onMetric = (name: string) => name === "exact" && lose();
    const theirs = await evaluateRecipe(recipe, metrics, { threads: 1, device: "tfjs-node", cacheFile, onMetric: (name) => void onMetric(name) });
    const ours = await evaluateRecipe(recipe, metrics, { threads: 1 });
    assert.deepEqual(theirs, ours);
    // One of the device, two of ours.
    assert.equal(readFileSync(cacheFile, "utf8").trim().split("\n").length, 3);
  });
});

describe("tfjs-backend-webgpu on a software GPU", () => {
  it("trains and computes logits as our engine does, within 1e-5", async function () {
    this.timeout(300_000);
    const env = softwareGpu();
    if (env === undefined || findPackage("@tensorflow/tfjs-backend-webgpu") === undefined) return this.skip();
    const file = fileURLToPath(new URL("./webgpu-steps.js", import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [file], { env });
    const found = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { losses: number[]; logits: number[]; warnings?: string[]; refused?: string });
    const [here, there] = found.map(({ losses, logits }) => [...losses, ...logits]);
    assert.ok(here !== undefined && here.length > 100);
    assert.equal(there?.length, here.length);
    for (const [i, x] of here.entries()) assert.ok(Math.abs(x - (there[i] as number)) < 1e-5, `number ${i}: ${there[i]}, ours ${x}`);
    const [, , ended] = found;
    assert.match(ended?.warnings?.join() ?? "", /device-failed.*engine-changed: webgpu from step 1, cpu from step 2/);
    assert.equal(ended?.losses.length, 3);
    for (const [i, x] of (found[0]?.losses ?? []).entries())
      assert.ok(Math.abs(x - (ended?.losses[i] ?? 9)) < 1e-5, `step ${i + 1}: ${ended?.losses[i]}, ours ${x}`);
    assert.match(found[3]?.refused ?? "", /device-failed/);
  });
});

describe("what newer versions of Node changed", () => {
  it("functions of util are put back where they are gone, and left where they are", () => {
    const own = () => true;
    const gone: Record<string, unknown> = { isArray: own };
    restoreNodeUtil(gone);
    assert.equal((gone.isNullOrUndefined as (x: unknown) => boolean)(undefined), true);
    assert.equal((gone.isNullOrUndefined as (x: unknown) => boolean)(0), false);
    assert.equal(gone.isArray, own);
  });

  it("navigator can be set where it is a getter", () => {
    const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
    Object.defineProperty(globalThis, "navigator", { get: () => ({}), configurable: true });
    const gpu = {};
    setNavigator({ gpu });
    assert.equal((globalThis.navigator as unknown as { gpu: object }).gpu, gpu);
    if (before === undefined) delete (globalThis as { navigator?: unknown }).navigator;
    else Object.defineProperty(globalThis, "navigator", before);
  });
});
