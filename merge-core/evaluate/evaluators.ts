// One way to measure a model, whatever measures it and wherever its weights are. Node only.
//
//   const evaluator = await openEvaluator(metrics, { threads, signal, cacheFile });
//   const scores = await evaluator.recipe({ text, file });        // {name: number}; no file of tensors is written
//   const same = await evaluator.model("./merged");               // a checkpoint on disk
//   const more = await evaluator.tensors("./base", tensors);      // tensors in memory, with config and tokenizer of a folder
//
// or, once: `evaluateRecipe(recipe, metrics, options)`. Metrics are data (metric-spec.ts): `builtinMetric("exact_match", [file])`, or
// `readMetric` from a configuration. A merge is written to a temporary folder only for evaluators that are other programs.
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { type ComputePool, createPool } from "../compute/pool.ts";
import { throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import { encodeSafetensors } from "../formats/safetensors-write.ts";
import { type Example, readExamples } from "../nn/data.ts";
import { type FallbackOptions, initEngine, onEngine } from "../nn/engine.ts";
import { disposeDecoder, type TensorData } from "../nn/load.ts";
import { type Model, modelFromTensors, readTensors } from "../nn/model.ts";
import { copyTextFiles } from "../nn/save.ts";
import { activeBackend } from "../nn/storage.ts";
import { modelOpener, type OpenModel } from "../plan/open-model.ts";
import type { MergePlan } from "../plan/plan.ts";
import { sha256 } from "../plan/plan-hash.ts";
import { planMerge } from "../plan/plan-merge.ts";
import { parseRecipe } from "../recipe/parse-recipe.ts";
import { KnownNumbers } from "../run/known-numbers.ts";
import { mergeTensors } from "../run/merge-tensors.ts";
import { writeSideFiles } from "../run/side-files.ts";
import { evaluate } from "./evaluate.ts";
import { measureByCommand, measureByStatus } from "./external-command.ts";
import { measureByHarness } from "./harness.ts";
import { chooseByLikelihood, meanEntropy, readChoices, readUnlabelled } from "./likelihood.ts";
import type { BuiltinSpec, MetricSpec } from "./metric-spec.ts";
import type { RecipeText } from "./recipe-merge.ts";
import { hashCheckpoint, hashMetric, hashTensors, openScoreCache } from "./score-cache.ts";

export { type BuiltinMetric, builtinMetric, type Direction, type MetricSpec, readMetric } from "./metric-spec.ts";

/** By metric name. */
export type Scores = Record<string, number>;

export interface EvaluatorOptions extends FallbackOptions {
  /** Of random methods in recipes. Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
  /** JSONL file of measured numbers, by (weights, data, metric); read first, added to. Without it the cache lives as long as the evaluator. */
  readonly cacheFile?: string;
  /** Sequences computed together. */
  readonly batchSize?: number;
  /** Called before each metric is measured. */
  readonly onMetric?: (name: string) => void;
  /** What a candidate took besides being measured: planning its recipe, merging in memory, and hashing and loading the weights. */
  readonly onStage?: (stage: "plan" | "merge" | "load", ms: number) => void;
}

export interface Evaluator {
  /** Merges in memory and measures. @throws WeightsmithError whatever parsing, planning, merging and measuring find */
  recipe(recipe: RecipeText): Promise<Scores>;
  /** Merges a plan in memory and measures. */
  plan(plan: MergePlan): Promise<Scores>;
  /** Measures a checkpoint on disk. */
  model(path: string): Promise<Scores>;
  /** Measures tensors in memory; `folder` holds config and tokenizer. */
  tensors(folder: string, tensors: ReadonlyMap<string, TensorData>): Promise<Scores>;
}

/** One measured model. */
interface Subject {
  /** Folder of config and tokenizer. */
  readonly folder: string;
  tensors(): Promise<ReadonlyMap<string, TensorData>>;
  /** What the cache knows the weights by. */
  hash(): Promise<string>;
  /** Where the checkpoint lies, if it lies on disk. */
  readonly path?: string;
}

/** Reads the metrics' data once. @throws WeightsmithError `file-missing`, `data-*` */
export async function openEvaluator(metrics: readonly MetricSpec[], options: EvaluatorOptions = {}): Promise<Evaluator> {
  const { threads } = options;
  await initEngine(options);
  const cache = await openScoreCache(options.cacheFile);
  // Another device rounds otherwise.
  const keyOn = (device: string | undefined, key: string): string => (device === undefined ? key : `${device} ${key}`);
  const prepared = await Promise.all(metrics.map(async (spec) => ({ spec, metric: await hashMetric(spec), measure: await prepare(spec, options) })));
  const signalled = options.signal === undefined ? {} : { signal: options.signal };
  const openerOf = rememberedOpeners(options.signal);
  const known = new KnownNumbers();
  const timed: Timed = async (stage, work) => {
    const started = performance.now();
    const result = await work();
    options.onStage?.(stage, performance.now() - started);
    return result;
  };

  const measureSubject = (subject: Subject): Promise<Scores> => onEngine(options, ({ device }) => measureOn(device, subject));

  async function measureOn(device: string | undefined, subject: Subject): Promise<Scores> {
    const weights = await timed("load", async () => sha256([await subject.hash(), ...(await decisiveTexts(subject.folder))].join("\0")));
    const open = openSubject(subject, timed);
    const scores: Scores = {};
    try {
      for (const { spec, metric, measure } of prepared) {
        throwIfCancelled(options.signal);
        const key = keyOn(device, metric);
        options.onMetric?.(spec.name);
        const known = cache.get(weights, key);
        const value = known ?? checkNumber(spec, await measure(open));
        if (known === undefined) await cache.put(weights, key, spec.name, value);
        scores[spec.name] = value;
      }
      return scores;
    } finally {
      await open.close();
    }
  }

  const measurePlan = async (plan: MergePlan): Promise<Scores> => {
    const tensors = await timed("merge", () => withPool(threads, (pool) => mergeTensors(plan, { pool, known, ...signalled })));
    return withFolder(async (folder) => {
      await writeSideFiles(plan, folder, "merge");
      return measureSubject(inMemory(folder, tensors));
    });
  };

  return {
    async recipe(recipe) {
      return measurePlan(await timed("plan", () => planRecipe(recipe, { ...options, open: openerOf(recipe.file) })));
    },
    plan: measurePlan,
    async model(path) {
      const checkpoint = await openCheckpoint(path, signalled);
      const hash = async () => (options.cacheFile === undefined ? path : hashCheckpoint(checkpoint, options.signal));
      return measureSubject({ folder: checkpoint.folder, path, hash, tensors: () => readTensors(checkpoint, signalled) });
    },
    tensors: (folder, tensors) => measureSubject(inMemory(folder, tensors)),
  };
}

const inMemory = (folder: string, tensors: ReadonlyMap<string, TensorData>): Subject => ({
  folder,
  tensors: () => Promise.resolve(tensors),
  hash: () => Promise.resolve(hashTensors(tensors)),
});

/** Merges a recipe in memory and measures the result. @throws WeightsmithError as `openEvaluator` and `Evaluator.recipe` */
export async function evaluateRecipe(recipe: RecipeText, metrics: readonly MetricSpec[], options: EvaluatorOptions = {}): Promise<Scores> {
  return (await openEvaluator(metrics, options)).recipe(recipe);
}

/** Parses and plans a recipe. @throws WeightsmithError with all that is wrong */
export async function planRecipe(
  { text, file }: RecipeText,
  { seed = 0, signal, open = modelOpener(file, { signal }) }: Pick<EvaluatorOptions, "seed" | "signal"> & { readonly open?: OpenModel } = {},
): Promise<MergePlan> {
  const { recipe, diagnostics } = parseRecipe(text, file);
  if (recipe === undefined) throw new WeightsmithError(diagnostics);
  const planned = await planMerge(recipe, open, { seed });
  if (planned.plan === undefined) throw new WeightsmithError(planned.diagnostics);
  return planned.plan;
}

/** Opens each model once for all recipes of a file: the candidates of a search differ in numbers only. */
function rememberedOpeners(signal: AbortSignal | undefined): (file: string) => OpenModel {
  const byFile = new Map<string, OpenModel>();
  return (file) => {
    const open = modelOpener(file, { signal });
    const models = new Map<string, ReturnType<OpenModel>>();
    const remembered: OpenModel = async (reference) => {
      const model = models.get(reference.text) ?? open(reference);
      models.set(reference.text, model);
      // What could not be opened may be there the next time.
      model.catch(() => models.delete(reference.text));
      return model;
    };
    const known = byFile.get(file) ?? remembered;
    byFile.set(file, known);
    return known;
  };
}

/** A model while it is measured: loaded, or put on disk, when first asked for. */
interface OpenSubject {
  loaded(): Promise<Model>;
  onDisk(): Promise<string>;
  close(): Promise<void>;
}

/** Does a part of the work, and tells how long it took. */
type Timed = <T>(stage: "plan" | "merge" | "load", work: () => Promise<T>) => Promise<T>;

function openSubject({ folder, tensors, path }: Subject, timed: Timed): OpenSubject {
  let model: Model | undefined;
  let written: string | undefined;
  return {
    async loaded() {
      model ??= await timed("load", async () => modelFromTensors(folder, await tensors()));
      return model;
    },
    async onDisk() {
      if (path !== undefined) return path;
      written ??= await writeCheckpoint(folder, await tensors());
      return written;
    },
    async close() {
      if (model !== undefined) disposeDecoder(model.decoder);
      if (written !== undefined) await rm(written, { recursive: true, force: true });
    },
  };
}

/** What reading a metric's data leaves to do for each model. */
type Measure = (subject: OpenSubject) => Promise<number>;

async function prepare(spec: MetricSpec, options: EvaluatorOptions): Promise<Measure> {
  const { signal } = options;
  const signalled = signal === undefined ? {} : { signal };
  if (spec.kind === "harness") return async (subject) => measureByHarness(spec, await subject.onDisk(), signal);
  const byCommand = spec.kind === "command" && spec.value === "exit" ? measureByStatus : measureByCommand;
  if (spec.kind === "command")
    return async (subject) => byCommand(spec.command, { timeoutSeconds: spec.timeoutSeconds, model: await subject.onDisk(), ...signalled });
  const batch = { ...signalled, ...(options.batchSize === undefined ? {} : { batchSize: options.batchSize }) };
  const measure = await prepareBuiltin(spec, batch);
  return async (subject) => measure(await subject.loaded());
}

type BatchOptions = { readonly batchSize?: number; readonly signal?: AbortSignal };

async function prepareBuiltin(spec: BuiltinSpec, options: BatchOptions): Promise<(model: Model) => Promise<number>> {
  const { metric, data, limit } = spec;
  const read = async <T>(reader: (file: string) => Promise<T[]>): Promise<T[]> => (await Promise.all(data.map(reader))).flat().slice(0, limit);
  if (metric === "entropy") {
    const examples = await read(readUnlabelled);
    return (model) => meanEntropy(model, examples, options);
  }
  if (metric === "multiple_choice" || metric === "multiple_choice_norm") {
    const questions = await read(readChoices);
    return (model) => chooseByLikelihood(model, questions, metric === "multiple_choice_norm", options);
  }
  const examples = await read(readExamples);
  return (model) => measureExamples(model, examples, metric, options);
}

async function measureExamples(
  model: Model,
  examples: readonly Example[],
  metric: "loss" | "perplexity" | "exact_match",
  options: BatchOptions,
): Promise<number> {
  const result = await evaluate(model, examples, { ...options, metrics: [metric === "exact_match" ? "exactMatch" : "loss"] });
  return (metric === "exact_match" ? result.exactMatch : result[metric]) ?? Number.NaN;
}

/** @throws WeightsmithError `metric-not-a-number`: nothing may be chosen by it */
function checkNumber(spec: MetricSpec, value: number): number {
  if (Number.isFinite(value)) return value;
  const file = spec.kind === "builtin" ? { file: spec.data.join(", ") } : {};
  const remedy = "the data may give no tokens to this model, or the model's weights may hold NaN";
  throw new WeightsmithError(
    { code: "metric-not-a-number", severity: "error", message: `${spec.name} is not a finite number`, ...file, found: String(value), remedy },
    { exitCode: 1 },
  );
}

/** The side files that change what a model computes from a text. */
async function decisiveTexts(folder: string): Promise<string[]> {
  return Promise.all(["config.json", "tokenizer.json"].map((name) => readFile(join(folder, name), "utf8").catch(() => "")));
}

/** A checkpoint in a temporary folder, for other programs to read. */
async function writeCheckpoint(from: string, tensors: ReadonlyMap<string, TensorData>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "weightsmith-model-"));
  await copyTextFiles(from, folder);
  await copyFile(join(from, "config.json"), join(folder, "config.json"));
  await writeFile(join(folder, "model.safetensors"), encodeSafetensors([...tensors].map(([name, tensor]) => ({ name, ...tensor }))));
  return folder;
}

/** Our threads, which run already unless models are computed elsewhere. */
async function withPool<T>(threads: number | undefined, use: (pool: ComputePool) => Promise<T>): Promise<T> {
  const running = activeBackend()?.pool;
  if (running !== undefined) return use(running);
  const pool = createPool(threads === undefined ? {} : { threads });
  return use(pool).finally(() => pool.close());
}

async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "weightsmith-merge-"));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
