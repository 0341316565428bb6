// weightsmith train-front: one network for all preferences between tasks, by PaMaL or PaLoRA. What is trained is saved as checkpoints and adapters whose
// weighted mean, an ordinary recipe, is the network of a preference; the front is then measured as `weightsmith pareto` measures it. Node only.
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { stringify } from "yaml";
import { writePeftLora } from "../adapters/peft-lora.ts";
import { inputError, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import { hashFiles } from "../evaluate/score-cache.ts";
import { DEFAULT_MAX_LENGTH, lossTokens, padRows, readExamples, type TokenRow, tokenize } from "../nn/data.ts";
import { initEngine } from "../nn/engine.ts";
import { PROJECTIONS, weightedLoss } from "../nn/llama.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model } from "../nn/model.ts";
import { type RopeTable, ropeTable } from "../nn/rope.ts";
import { saveModel, writeJson } from "../nn/save.ts";
import { liveValues } from "../nn/storage.ts";
import { sha256 } from "../plan/plan-hash.ts";
import { adamW, createAdamState, disposeAdamState, globalNorm } from "../train/optimizer.ts";
import { BUILT_IN } from "../train/run-state.ts";
import { learningRate } from "../train/schedule.ts";
import { openStepJournal, type StepJournal } from "../train/step-journal.ts";
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import { createWindow, gradientWeight, lossWeights, remember } from "./balance.ts";
import { adapterName, createPalora, createPamal, type FrontModel } from "./front-model.ts";
import { monotonePenalty } from "./monotone-penalty.ts";
import { parseParetoConfig } from "./pareto-config.ts";
import { annealRays, dirichlet, evenRays } from "./preference-rays.ts";
import { RandomStream } from "./random-stream.ts";
import { type ParetoOutcome, runPareto } from "./run-pareto.ts";
import type { SearchOptions } from "./search-run.ts";
import type { TrainFrontConfig } from "./train-front-config.ts";

/** Written when training is complete; names what was trained. */
const TRAINED_FILE = "front-training.json";
const FRONT_CONFIG = "front.yml";

/** Trains, unless `out` holds the same training already, and measures the front. @throws WeightsmithError `output-exists`, `data-*`, `training-diverged`, `cancelled` */
export async function trainFront(config: TrainFrontConfig, out: string, options: SearchOptions = {}): Promise<ParetoOutcome> {
  const { threads, blas, device } = options;
  const identity = sha256(config.text + (await hashFiles(config.tasks.flatMap(({ train }) => train))));
  await initEngine({ ...(threads === undefined ? {} : { threads }), blas, device });
  const trained = join(out, TRAINED_FILE);
  if (!existsSync(trained) || options.overwrite) {
    if (existsSync(out) && !options.overwrite && !existsSync(join(out, FRONT_CONFIG)))
      throw inputError("output-exists", "the output exists and is no training of a front", { file: out, remedy: "choose another, or pass --overwrite" });
    await mkdir(out, { recursive: true });
    await writeFile(join(out, FRONT_CONFIG), frontConfig(config, out));
    const engine = blas?.name ?? device ?? BUILT_IN;
    const journal = await openStepJournal(join(out, "learning"), identity, { overwrite: options.overwrite ?? false, engine });
    await runTraining(config, out, { ...options, journal });
    await writeJson(trained, { identity, engines: journal.engines });
    await journal.discard();
  } else if ((JSON.parse(await readFile(trained, "utf8")) as { identity?: unknown }).identity !== identity)
    throw inputError("resume-other-run", "another training lies there", { file: out, remedy: "choose another output, or start anew with --overwrite" });
  const file = resolve(out, FRONT_CONFIG);
  return runPareto(parseParetoConfig(await readFile(file, "utf8"), file), join(out, "front"), options);
}

/** The search that measures the front: means of what was trained, weighted by preferences. */
function frontConfig({ method, tasks, metric, front, seed, limit }: TrainFrontConfig, out: string): string {
  const models = tasks.map(({ name }) => {
    const model = method === "pamal" ? resolve(out, name) : reference(resolve(out, "shared"), resolve(out, name));
    return { model, parameters: { weight: { search: [0, 1] } } };
  });
  const objectives = tasks.map(({ name, validation }) => ({ name, metric, data: validation, ...(limit === undefined ? {} : { limit }) }));
  return stringify({ recipe: { merge_method: "linear", models }, objectives, method: "simplex", front, seed, baselines: false });
}

const reference = (model: string, lora: string): object | string =>
  /[+@]/.test(model + lora) ? { model: { path: model }, lora: { path: lora } } : `${model}+${lora}`;

type TrainingOptions = SearchOptions & { readonly journal: StepJournal };

async function runTraining(config: TrainFrontConfig, out: string, options: TrainingOptions): Promise<void> {
  const model = await loadModel(config.model);
  const { method, tasks, rank, alpha, seed } = config;
  const front = method === "pamal" ? createPamal(model, tasks.length) : createPalora(model, tasks.length, { rank, alpha, seed });
  try {
    const rows = await Promise.all(tasks.map(({ train }) => readRows(model, train)));
    await optimise(config, model, front, rows, options);
    await (method === "pamal" ? savePamal : savePalora)(config, model, front, out);
  } finally {
    front.dispose();
    disposeDecoder(model.decoder);
  }
}

async function readRows({ codec, decoder }: Model, files: readonly string[]): Promise<TokenRow[]> {
  const { maxPositions, eosTokenIds } = decoder.config;
  const examples = (await Promise.all(files.map((file) => readExamples(file)))).flat();
  const rows = examples.flatMap((example) => tokenize(example, codec, eosTokenIds[0], Math.min(maxPositions, DEFAULT_MAX_LENGTH)));
  if (lossTokens(rows) === 0)
    throw inputError("data-no-tokens", "the data gives this model nothing to predict", { file: files.join(", "), remedy: "check data and tokenizer" });
  return rows;
}

async function optimise(config: TrainFrontConfig, model: Model, front: FrontModel, rows: readonly TokenRow[][], options: TrainingOptions): Promise<void> {
  const { steps, lr, seed } = config;
  const { journal, signal } = options;
  const adam = createAdamState(front.parameters);
  const random = new RandomStream(seed, "train front");
  const table = ropeTable(model.decoder.config, Math.max(...rows.flat().map((row) => row.tokens.length)));
  const even = evenRays(config.tasks.length, config.rays);
  const window = createWindow(config.tasks.length);
  const state = () => [...[front.parameters, adam.m, adam.v].flatMap((tensors) => [...tensors.values()].map(liveValues)), window];
  try {
    const before = await journal.resume("front", state());
    const losses = [...before.losses];
    for (let step = 1; step <= steps; step++) {
      await setImmediate();
      throwIfCancelled(signal);
      const batches = rows.map((list) => Array.from({ length: config.batchSize }, () => list[random.index(list.length)] as TokenRow));
      const rays =
        config.method === "palora"
          ? annealRays(even, step / steps, config.anneal)
          : Array.from({ length: config.rays }, () => dirichlet(config.tasks.length, config.concentration, random));
      // What was drawn must be drawn again; what was learned is there.
      if (step <= before.step) continue;
      const { loss, taskLosses, gradients } = stepGradients({ config, model, front, table, window }, batches, rays);
      remember(window, taskLosses);
      const norm = globalNorm(gradients);
      if (!Number.isFinite(loss) || !Number.isFinite(norm)) throw diverged(step, loss);
      const rate = learningRate({ peak: lr, warmupSteps: Math.min(10, Math.ceil(steps / 10)), totalSteps: steps, floor: 0.1 }, step);
      const settings = { lr: rate, betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: 0, step, gradientScale: Math.min(1, 1 / norm) };
      adamW(front.parameters, gradients, adam, { ...settings, rateOf: (name) => front.rateOf(name) });
      tf.dispose([...gradients.values()]);
      losses.push(loss);
      options.onProgress?.({ done: step, total: steps, detail: `training, loss ${loss.toFixed(4)}` });
      await journal.save("front", { step, losses }, state, step === steps || signal?.aborted === true);
    }
  } finally {
    disposeAdamState(adam);
  }
}

interface Step {
  readonly config: TrainFrontConfig;
  readonly model: Model;
  readonly front: FrontModel;
  readonly table: RopeTable;
  /** Losses of the tasks of late. */
  readonly window: Float64Array;
}

interface StepGradients {
  /** The mean over rays of sum_t a_t L_t(W(a)). */
  readonly loss: number;
  /** Of each task, the mean over rays. */
  readonly taskLosses: readonly number[];
  readonly gradients: Map<string, tf.Tensor>;
}

/** Gradients of the mean over rays of sum_t a_t L_t(W(a)), balanced, and of the penalties. */
function stepGradients(at: Step, batches: readonly (readonly TokenRow[])[], rays: readonly (readonly number[])[]): StepGradients {
  const { regularizer, balance, cosine } = at.config;
  const penalties = regularizer > 0 && rays.length > 1 ? penaltySlopes(at, batches, rays) : undefined;
  const byLoss = balance === "loss" || balance === "full" ? lossWeights(at.window, batches.length) : batches.map(() => 1);
  const taskLosses = batches.map(() => 0);
  const sums = new Map<string, tf.Tensor>();
  let loss = 0;
  for (const [j, ray] of rays.entries()) {
    const weights = at.front.weightsAt(ray);
    const factors = ray.map((a, task) => (a * (byLoss[task] ?? 1)) / rays.length + (penalties?.[j]?.[task] ?? 0));
    const { losses, grads } = rayGradients(at, weights, batches, factors);
    for (const [task, value] of losses.entries()) {
      taskLosses[task] = (taskLosses[task] ?? 0) + value / rays.length;
      loss += ((ray[task] ?? 0) * value) / rays.length;
    }
    addTo(sums, at.front.gradientsAt(ray, grads), 1);
    tf.dispose([...grads.values(), ...weights.values()]);
  }
  if (cosine > 0) addTo(sums, at.front.cosine?.().gradients ?? new Map(), cosine);
  return { loss, taskLosses, gradients: sums };
}

/** Losses of the tasks at one network, and the gradient of their sum with these factors; balanced by gradients, each task is gone through by itself. */
function rayGradients(
  at: Step,
  weights: ReadonlyMap<string, tf.Tensor>,
  batches: readonly (readonly TokenRow[])[],
  factors: readonly number[],
): { losses: number[]; grads: Map<string, tf.Tensor> } {
  const names = [...weights.keys()];
  const losses = batches.map(() => Number.NaN);
  const keep = (task: number, loss: tf.Scalar): tf.Scalar => {
    losses[task] = loss.dataSync()[0] ?? Number.NaN;
    return loss;
  };
  const gradientsOf = (scalar: () => tf.Scalar) => {
    const { value, grads } = tf.valueAndGrads(scalar)([...weights.values()]);
    value.dispose();
    return new Map(names.map((name, i) => [name, grads[i] as tf.Tensor]));
  };
  if (at.config.balance === "none" || at.config.balance === "loss") {
    const total = () => factors.map((factor, task) => tf.mul(keep(task, taskLoss(at, weights, batches[task] ?? [])), factor)).reduce((x, y) => tf.add(x, y));
    return { losses, grads: gradientsOf(() => total() as tf.Scalar) };
  }
  const grads = new Map<string, tf.Tensor>();
  for (const [task, factor] of factors.entries()) {
    const own = gradientsOf(() => keep(task, taskLoss(at, weights, batches[task] ?? [])));
    addTo(grads, own, factor * gradientWeight(globalNorm(own)));
  }
  return { losses, grads };
}

/** Adds to the sums, times a factor; what is added is disposed. */
function addTo(sums: Map<string, tf.Tensor>, parts: ReadonlyMap<string, tf.Tensor>, factor: number): void {
  for (const [name, part] of parts) {
    const before = sums.get(name);
    sums.set(
      name,
      tf.tidy(() => (before === undefined ? tf.mul(part, factor) : tf.add(before, tf.mul(part, factor)))),
    );
    before?.dispose();
    part.dispose();
  }
}

const taskLoss = ({ model, table }: Step, weights: ReadonlyMap<string, tf.Tensor>, rows: readonly TokenRow[]): tf.Scalar =>
  weightedLoss({ config: model.decoder.config, weights }, padRows(rows, 1 / lossTokens(rows)), table);

/** What the penalty adds to the weight of each loss; nothing where it would outweigh the losses, as in the authors' code: there both are sums over rays, here means. */
function penaltySlopes(at: Step, batches: readonly (readonly TokenRow[])[], rays: readonly (readonly number[])[]): (readonly number[])[] | undefined {
  const losses = rays.map((ray) =>
    tf.tidy(() => {
      const weights = at.front.weightsAt(ray);
      return batches.map((rows) => taskLoss(at, weights, rows).dataSync()[0] ?? Number.NaN);
    }),
  );
  const { value, slopes } = monotonePenalty(rays, losses);
  const total = rays.reduce((sum, ray, j) => sum + ray.reduce((part, a, task) => part + a * (losses[j]?.[task] ?? 0), 0), 0);
  const { regularizer } = at.config;
  return regularizer * value < total ? slopes.map((row) => row.map((slope) => (regularizer * slope) / rays.length)) : undefined;
}

async function savePamal({ tasks }: TrainFrontConfig, model: Model, { parameters }: FrontModel, out: string): Promise<void> {
  for (const [task, { name }] of tasks.entries()) {
    const weights = new Map([...model.decoder.weights.keys()].map((weight) => [weight, parameters.get(`${task}/${weight}`) as tf.Tensor]));
    await saveModel({ ...model, decoder: { ...model.decoder, weights } }, join(out, name), "F32");
  }
}

async function savePalora({ tasks, rank, alpha }: TrainFrontConfig, model: Model, { parameters }: FrontModel, out: string): Promise<void> {
  const weights = new Map([...model.decoder.weights.keys()].map((weight) => [weight, parameters.get(`shared/${weight}`) as tf.Tensor]));
  const shared = join(out, "shared");
  await saveModel({ ...model, decoder: { ...model.decoder, weights } }, shared, "F32");
  for (const [task, { name }] of tasks.entries()) {
    const prefix = `a/${adapterName(task, "")}`;
    const modules = [...parameters.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
    const factors = modules.map((module) => {
      const [a, b] = [parameters.get(`a/${adapterName(task, module)}`) as tf.Tensor, parameters.get(`b/${adapterName(task, module)}`) as tf.Tensor];
      const [inFeatures = 0, outFeatures = 0] = [a.shape[1], b.shape[0]];
      return [module, { r: rank, inFeatures, outFeatures, a: liveValues(a), b: liveValues(b), scale: alpha / rank }] as const;
    });
    await writePeftLora({ r: rank, alpha, dropout: 0, targetModules: PROJECTIONS, baseModel: shared, modules: new Map(factors) }, join(out, name));
  }
}

function diverged(step: number, loss: number): WeightsmithError {
  const remedy = "lower lr";
  return new WeightsmithError(
    { code: "training-diverged", severity: "error", message: `training diverged at step ${step}`, found: `loss ${loss}`, remedy },
    { exitCode: 1 },
  );
}
