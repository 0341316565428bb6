// weightsmith unlearn: takes a skill or data out of a model by editing its weights, measures what that does to the rest, and writes the edit that
// forgets most while the rest stays above a floor. Every edit is a recipe on files that stay in the output, so it can be verified and made again. Node only.
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { stringify } from "yaml";
import { inputError, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import { builtinMetric, openEvaluator, planRecipe } from "../evaluate/evaluators.ts";
import { hashFiles } from "../evaluate/score-cache.ts";
import { writeFisher } from "../evaluate/statistics/statistics-file.ts";
import { initBackend } from "../nn/backend.ts";
import { DEFAULT_MAX_LENGTH, lossTokens, readExamples, type TokenRow, tokenize } from "../nn/data.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model } from "../nn/model.ts";
import { ropeTable } from "../nn/rope.ts";
import { saveModel, writeJson } from "../nn/save.ts";
import { liveValues } from "../nn/storage.ts";
import { withoutPlaces } from "../pareto/search-run.ts";
import { openTrials, TRIALS_FILE } from "../pareto/trials.ts";
import { sha256 } from "../plan/plan-hash.ts";
import { runMerge } from "../run/execute.ts";
import { fingerprintInputs } from "../run/shard-files.ts";
import { checkOutput } from "../run/work-folder.ts";
import { stepGradients } from "../train/gradients.ts";
import { VERSION } from "../version.ts";
import { chooseCandidate, keeps, type UnlearnCandidate, type UnlearnMetrics } from "./choose.ts";
import type { UnlearnConfig } from "./config.ts";
import { candidateLayers, scoreLayers, searchStep } from "./slug.ts";

export const UNLEARN_FILE = "unlearn.json";

export interface UnlearnOptions {
  readonly threads?: number;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly done: number; readonly total: number; readonly detail: string }) => void;
}

export interface UnlearnReport {
  readonly format: "weightsmith-unlearning";
  readonly version: 1;
  readonly weightsmith: string;
  readonly method: string;
  readonly metric: string;
  readonly direction: string;
  readonly floor: number;
  /** On the data that chose the edit. */
  readonly candidates: readonly Omit<UnlearnCandidate, "recipe">[];
  readonly chosen: string;
  readonly recipe: string;
  /** Whether retain and control stay above the floor, on the data that chose. */
  readonly keeps: boolean;
  /** A file, by content, is both among what chose the edit and among the test data. */
  readonly sameSplit: boolean;
  /** On the test data. */
  readonly before: UnlearnMetrics;
  readonly after: UnlearnMetrics;
}

/** @throws WeightsmithError `output-*`, `data-*`, `model-*`, `unlearn-nothing-measured`, `cancelled` */
export async function unlearn(config: UnlearnConfig, out: string, options: UnlearnOptions = {}): Promise<UnlearnReport> {
  const { overwrite = false } = options;
  const unfinished = existsSync(join(out, TRIALS_FILE)) && !existsSync(join(out, UNLEARN_FILE));
  const inputs = [config.model, ...(config.expert === undefined ? [] : [config.expert])];
  await checkOutput({ out, overwrite: overwrite || unfinished, inputs });
  await initBackend(options.threads === undefined ? {} : { threads: options.threads });
  const choosing = await openMetrics(config, "validation", options);
  // What is wrong with the test data should show before the work, not after it.
  const reporting = await openMetrics(config, "test", options);
  const trials = await openTrials(out, await identityOf(config), overwrite);
  // Statistics of another run would not be taken again.
  if (trials.resumed === 0) for (const file of Object.values(fisherFiles(out))) await rm(file, { force: true });
  const measure = async (subject: Subject): Promise<UnlearnMetrics> => {
    const key = sha256(JSON.stringify(subject));
    const known = trials.get(key);
    if (known !== undefined && "values" in known) return known.values as unknown as UnlearnMetrics;
    const started = performance.now();
    const metrics = await choosing(subject);
    if (Object.values(metrics).every(Number.isFinite)) await trials.put(key, { values: { ...metrics } }, (performance.now() - started) / 1000);
    return metrics;
  };
  const before = await measure({ model: config.model });
  const candidates: UnlearnCandidate[] = [];
  const total = config.method === "slug" ? config.layers * config.tries : config.strengths.length;
  let failure: unknown;
  const attempt: Attempt = async (label, recipe) => {
    throwIfCancelled(options.signal);
    const text = stringify(recipe);
    try {
      const metrics = await measure({ text });
      candidates.push({ label, recipe: text, metrics, keeps: keeps(before, metrics, config.direction, config.floor) });
      options.onProgress?.({
        done: candidates.length,
        total,
        detail: `${label}: forget ${shown(metrics.forget)}, retain ${shown(metrics.retain)}, control ${shown(metrics.control)}`,
      });
      return metrics;
    } catch (error) {
      throwIfCancelled(options.signal);
      // One edit may break the model altogether; the others are still worth trying.
      failure = error;
      return undefined;
    }
  };
  await METHODS[config.method](config, out, attempt, options);
  const chosen = chooseCandidate(before, candidates, config.direction);
  if (chosen === undefined) throw nothingMeasured(failure);
  return write(config, out, { candidates, chosen, reporting }, options);
}

/** What the measurements depend on. */
async function identityOf({ text, place, model, expert = model, base, forget, retain, control }: UnlearnConfig): Promise<string> {
  const models = [model, expert, base].map((own) => ({ model: own, parameters: { weight: 1 } }));
  const plan = await planRecipe({ text: stringify({ merge_method: "linear", models }), file: place.file }, {}).catch((error: unknown) => {
    throw withoutPlaces(error, place.file);
  });
  const data = await hashFiles([forget, retain, control].flatMap(({ train, validation }) => [...train, ...validation]));
  return JSON.stringify({ format: "weightsmith-trials", version: 1, config: sha256(text), data, inputs: await fingerprintInputs(plan) });
}

type Attempt = (label: string, recipe: object) => Promise<UnlearnMetrics | undefined>;
type Method = (config: UnlearnConfig, out: string, attempt: Attempt, options: UnlearnOptions) => Promise<void>;

const METHODS: Readonly<Record<UnlearnConfig["method"], Method>> = { negate, ssd, slug };

async function sharesSplit({ forget, retain, control }: UnlearnConfig): Promise<boolean> {
  const hashes = async (split: "validation" | "test") => Promise.all([forget, retain, control].flatMap((own) => own[split]).map((file) => hashFiles([file])));
  const chosen = new Set(await hashes("validation"));
  return (await hashes("test")).some((hash) => chosen.has(hash));
}

const shown = (value: number): string => Number(value.toPrecision(4)).toString();

/** Negated task vectors (Ilharco et al. 2023, 2212.04089): model - lambda (expert - base). */
async function negate({ model, expert = model, base, strengths }: UnlearnConfig, _out: string, attempt: Attempt): Promise<void> {
  for (const lambda of strengths) {
    const terms = [
      { model, weight: 1 },
      { model: expert, weight: -lambda },
      { model: base, weight: lambda },
    ];
    const models = terms.map(({ weight, ...term }) => ({ ...term, parameters: { weight } }));
    await attempt(`lambda ${lambda}`, { merge_method: "linear", models, parameters: { normalize: false } });
  }
}

const fisherFiles = (out: string) => ({ forget: join(out, "forget.fisher.safetensors"), retain: join(out, "retain.fisher.safetensors") });

/** Dampening by the ratio of Fisher information, at several thresholds: none suits all models. */
async function ssd(config: UnlearnConfig, out: string, attempt: Attempt, options: UnlearnOptions): Promise<void> {
  const { model, strengths, lambda } = config;
  const files = fisherFiles(out);
  const shared = { mode: "empirical" as const, overwrite: true, ...limitOf(config), ...(options.signal === undefined ? {} : { signal: options.signal }) };
  for (const part of ["forget", "retain"] as const)
    if (!existsSync(files[part])) await writeFisher(model, config[part].train, { ...shared, ...threadsOf(options), out: files[part] });
  const models = [files.forget, files.retain].map((fisher) => ({ model, fisher }));
  for (const alpha of strengths) await attempt(`alpha ${alpha}`, { merge_method: "ssd", models, parameters: { alpha, lambda } });
}

/** One tensor, one gradient. The gradient is kept as a checkpoint of its own, so that the edit is a recipe. */
async function slug(config: UnlearnConfig, out: string, attempt: Attempt, options: UnlearnOptions): Promise<void> {
  const model = await loadModel(config.model);
  const folder = join(out, "forget-gradient");
  let layers: ReturnType<typeof candidateLayers>;
  try {
    const forget = await gradientsOn(model, config.forget.train, config, options);
    const keep = await gradientsOn(model, config.retain.train, config, options);
    const values = (tensors: ReadonlyMap<string, tf.Tensor>) => new Map([...tensors].map(([name, tensor]) => [name, liveValues(tensor)]));
    layers = candidateLayers(scoreLayers(values(model.decoder.weights), values(forget), values(keep))).slice(0, config.layers);
    await saveModel({ ...model, decoder: { ...model.decoder, weights: forget } }, folder, "F32");
    tf.dispose([...forget.values(), ...keep.values()]);
  } finally {
    disposeDecoder(model.decoder);
  }
  const forgotten = ({ forget }: UnlearnMetrics) => (config.direction === "maximize" ? forget <= config.target : forget >= config.target);
  for (const { name, unitStep } of layers) {
    await searchStep(unitStep, config.tries, async (step) => {
      const weight = [{ filter: name, value: step }, { value: 0 }];
      const models = [
        { model: config.model, parameters: { weight: 1 } },
        { model: folder, parameters: { weight } },
      ];
      const metrics = await attempt(`${name} step ${step.toPrecision(3)}`, { merge_method: "linear", models, parameters: { normalize: false } });
      return metrics === undefined || forgotten(metrics);
    });
  }
}

/** Sequences computed together. */
const BATCH = 32;

/** Gradients of the mean loss over all predicted tokens, by tensor; the caller disposes them. */
async function gradientsOn(model: Model, files: readonly string[], config: UnlearnConfig, { signal }: UnlearnOptions): Promise<Map<string, tf.Tensor>> {
  const { decoder, codec } = model;
  const maxLength = Math.min(decoder.config.maxPositions, DEFAULT_MAX_LENGTH);
  const examples = (await Promise.all(files.map((file) => readExamples(file)))).flat().slice(0, config.limit);
  const rows = examples.flatMap((example): TokenRow[] => tokenize(example, codec, decoder.config.eosTokenIds[0], maxLength));
  const tokens = lossTokens(rows);
  if (tokens === 0)
    throw inputError("data-no-tokens", "the data gives this model nothing to predict", { file: files.join(", "), remedy: "check data and tokenizer" });
  const table = ropeTable(decoder.config, Math.max(...rows.map((row) => row.tokens.length)));
  let sums = new Map<string, tf.Tensor>();
  for (let first = 0; first < rows.length; first += BATCH) {
    await setImmediate();
    throwIfCancelled(signal);
    const step = stepGradients(decoder.weights, [rows.slice(first, first + BATCH)], () => decoder, table);
    const before = sums;
    sums = new Map([...step.gradients].map(([name, g]) => [name, tf.tidy(() => addShare(before.get(name), g, step.tokens / tokens))]));
    tf.dispose([...before.values(), ...step.gradients.values()]);
  }
  return sums;
}

const addShare = (sum: tf.Tensor | undefined, gradient: tf.Tensor, share: number): tf.Tensor => {
  const part = tf.mul(gradient, share);
  return sum === undefined ? part : tf.add(sum, part);
};

type Measure = (subject: Subject) => Promise<UnlearnMetrics>;
type Subject = { readonly model: string } | { readonly text: string };

/** Measures forget, retain and control on one split. */
async function openMetrics(config: UnlearnConfig, split: "validation" | "test", options: UnlearnOptions): Promise<Measure> {
  const specs = (["forget", "retain", "control"] as const).map((name) => builtinMetric(config.metric, config[name][split], { name, ...limitOf(config) }));
  const evaluator = await openEvaluator(specs, { ...threadsOf(options), ...(options.signal === undefined ? {} : { signal: options.signal }) });
  return async (subject) => {
    const {
      forget = Number.NaN,
      retain = Number.NaN,
      control = Number.NaN,
    } = "model" in subject ? await evaluator.model(subject.model) : await evaluator.recipe({ text: subject.text, file: config.place.file });
    return { forget, retain, control };
  };
}

const limitOf = ({ limit }: UnlearnConfig): { limit?: number } => (limit === undefined ? {} : { limit });
const threadsOf = ({ threads }: UnlearnOptions): { threads?: number } => (threads === undefined ? {} : { threads });

async function write(
  config: UnlearnConfig,
  out: string,
  { candidates, chosen, reporting }: { readonly candidates: readonly UnlearnCandidate[]; readonly chosen: UnlearnCandidate; readonly reporting: Measure },
  options: UnlearnOptions,
): Promise<UnlearnReport> {
  const signalled = options.signal === undefined ? {} : { signal: options.signal };
  const plan = await planRecipe({ text: chosen.recipe, file: config.place.file }, signalled);
  await runMerge(plan, { out: join(out, "model"), overwrite: true, ...threadsOf(options), ...signalled });
  const report: UnlearnReport = {
    format: "weightsmith-unlearning",
    version: 1,
    weightsmith: VERSION,
    method: config.method,
    metric: config.metric,
    direction: config.direction,
    floor: config.floor,
    candidates: candidates.map(({ recipe: _, ...rest }) => rest),
    chosen: chosen.label,
    recipe: chosen.recipe,
    keeps: chosen.keeps,
    sameSplit: await sharesSplit(config),
    before: await reporting({ model: config.model }),
    after: await reporting({ text: chosen.recipe }),
  };
  await writeJson(join(out, UNLEARN_FILE), report);
  await writeFile(join(out, "unlearn.yml"), config.text);
  return report;
}

function nothingMeasured(cause: unknown): WeightsmithError {
  const found = cause instanceof Error ? { found: cause.message } : {};
  const diagnostic = { code: "unlearn-nothing-measured", severity: "error" as const, message: "not one edit could be measured", ...found };
  return new WeightsmithError(diagnostic, { exitCode: 1, cause });
}
