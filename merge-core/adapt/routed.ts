// A model for every input (1bit-Merging, Liu et al. 2025, 2502.10743): the base, each expert's task vector in one bit per weight, and a router that
// chooses one of them for a prompt. On disk: a folder with router.json and one adapter per expert; the base stays where it is. Node only.
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { type EvaluateOptions, type Evaluation, evaluate } from "../evaluate/evaluate.ts";
import { planRecipe } from "../evaluate/evaluators.ts";
import { readUnlabelled, type Unlabelled, unlabelledRows } from "../evaluate/likelihood.ts";
import { mergeByRecipe } from "../evaluate/recipe-merge.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";
import { initBackend } from "../nn/backend.ts";
import { readExamples, type TokenRow } from "../nn/data.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model, modelFromTensors } from "../nn/model.ts";
import { requireBackend } from "../nn/storage.ts";
import { extractOneBit, type ONE_BIT_LAYERS } from "../run/extract-one-bit.ts";
import { mergeTensors } from "../run/merge-tensors.ts";
import { pooledStates, type Router, routeOf, trainRouter } from "./router.ts";

/** Names a folder as such a model. */
export const ROUTER_FILE = "router.json";
const FORMAT = "weightsmith-router";

export interface RoutedModel {
  readonly folder: string;
  /** Folder of the base. */
  readonly base: string;
  /** Names of the experts; adapter number k of them lies in `<folder>/<k>`, counted from 1. */
  readonly tasks: readonly string[];
  /** The layer in front of which hidden states are taken. */
  readonly layer: number;
  readonly router: Router;
}

export interface PackedExperts {
  readonly base: Checkpoint;
  readonly experts: readonly { readonly name: string; readonly checkpoint: Checkpoint }[];
  /** Which layers' changes are packed; all else that changed is stored whole. */
  readonly layers: keyof typeof ONE_BIT_LAYERS;
}

export interface RoutedSummary {
  /** Share of rows that a router which has not seen them sends to the right expert. */
  readonly routerAccuracy: number;
  /** Of the experts, packed. */
  readonly bytes: number;
  /** Of the same tensors as the experts have them. */
  readonly wholeBytes: number;
}

/** Of every so many rows one is left out of a first training, to see how well the router does on others. */
const HELD_OUT = 5;

/** Fills an empty folder. @param rows unlabelled rows of each expert's task, in the order of the experts */
export async function writeRouted(
  { base, experts, layers }: PackedExperts,
  model: Model,
  rows: readonly (readonly TokenRow[])[],
  folder: string,
  signal?: AbortSignal,
): Promise<RoutedSummary> {
  const layer = Math.floor(model.decoder.config.layers / 2);
  const features: Float64Array[] = [];
  for (const own of rows) features.push(...pooledStates(model.decoder, own, layer));
  const labels = rows.flatMap((own, task) => own.map(() => task));
  const routerAccuracy = heldOutAccuracy(features, labels, experts.length);
  const router = trainRouter(features, labels, experts.length);
  let [bytes, wholeBytes] = [0, 0];
  for (const [k, { checkpoint }] of experts.entries()) {
    throwIfCancelled(signal);
    const packed = await extractOneBit({ base, model: checkpoint, out: join(folder, `${k + 1}`), layers, signal });
    bytes += packed.tensorBytes;
    wholeBytes += packed.modelBytes;
  }
  const numbers = { classes: router.classes, weights: [...router.weights], mean: [...router.mean], deviation: [...router.deviation] };
  const file = { format: FORMAT, version: 1, base: resolve(base.folder), tasks: experts.map(({ name }) => name), layer, router: numbers };
  await writeFile(join(folder, ROUTER_FILE), `${JSON.stringify(file)}\n`);
  return { routerAccuracy, bytes, wholeBytes };
}

function heldOutAccuracy(features: readonly Float64Array[], labels: readonly number[], classes: number): number {
  const [seen, others] = [false, true].map((held) => [...features.keys()].filter((i) => (i % HELD_OUT === HELD_OUT - 1) === held));
  const router = trainRouter(
    (seen ?? []).map((i) => features[i] as Float64Array),
    (seen ?? []).map((i) => labels[i] ?? 0),
    classes,
  );
  return (others ?? []).filter((i) => routeOf(router, features[i] as Float64Array) === labels[i]).length / (others?.length ?? 0);
}

/** @throws WeightsmithError `router-invalid`, `json-*`; undefined where the folder is no such model */
export async function readRouted(folder: string): Promise<RoutedModel | undefined> {
  const file = join(folder, ROUTER_FILE);
  const bytes = await readFile(file).catch(() => undefined);
  if (bytes === undefined) return undefined;
  const value = parseJsonBytes(bytes, file, { maxBytes: 1_000_000_000, maxDepth: 16, nonFinite: false });
  const { format, version, base, tasks, layer, router } = isRecord(value) ? value : {};
  const numbers = isRecord(router) ? router : {};
  const [weights, mean, deviation] = [numbers.weights, numbers.mean, numbers.deviation].map(asNumbers);
  const isKnown = format === FORMAT && version === 1 && typeof base === "string" && isCount(layer);
  const names = Array.isArray(tasks) && tasks.every((name) => typeof name === "string") ? tasks : undefined;
  const fits = names !== undefined && weights?.length === names.length * ((mean?.length ?? 0) + 1) && mean?.length === deviation?.length;
  if (!isKnown || !fits || mean === undefined || deviation === undefined || weights === undefined)
    throw inputError("router-invalid", "the router cannot be used", { file, expected: "what adapt --method one_bit wrote" });
  return { folder, base, tasks: names, layer, router: { classes: names.length, weights, mean, deviation } };
}

const asNumbers = (value: unknown): Float64Array | undefined =>
  Array.isArray(value) && value.every((x) => typeof x === "number") ? Float64Array.from(value) : undefined;
const isCount = (value: unknown): value is number => typeof value === "number" && Number.isInteger(value) && value >= 0;

/** The expert of each example, counted from 0: by its prompt, or by all of a text. @param base the base, loaded */
export function routesOf({ router, layer }: RoutedModel, base: Model, examples: readonly Unlabelled[]): number[] {
  return examples.map((example) => {
    const [features] = pooledStates(base.decoder, unlabelledRows(base, [example]).slice(0, 1), layer);
    // What is too long for the model is measured by none.
    return features === undefined ? 0 : routeOf(router, features);
  });
}

export interface RoutedEvaluation extends Evaluation {
  /** How many examples went to each expert. */
  readonly routes: Readonly<Record<string, number>>;
}

/** Every example by the expert that the router chooses for it. @throws WeightsmithError what loading, folding and reading throw */
export async function evaluateRouted(
  model: RoutedModel,
  dataFiles: readonly string[],
  options: EvaluateOptions & { readonly threads?: number } = {},
): Promise<RoutedEvaluation> {
  if (dataFiles.length === 0) throw inputError("data-missing", "no data to evaluate on", { expected: "one JSONL file or more" });
  const { limit, ...others } = options;
  const examples = (await Promise.all(dataFiles.map((file) => readExamples(file)))).flat().slice(0, limit);
  await initBackend(options.threads === undefined ? {} : { threads: options.threads });
  const routes = await withModel(loadModel(model.base), async (base) => routesOf(model, base, examples));
  const parts: Part[] = [];
  let done = 0;
  for (const task of model.tasks.keys()) {
    const own = examples.filter((_, i) => routes[i] === task);
    if (own.length === 0) continue;
    const onProgress: EvaluateOptions["onProgress"] = (p) => options.onProgress?.({ ...p, done: done + p.done, total: examples.length });
    const evaluation = await withModel(expertModel(model, task, options.signal), (expert) => evaluate(expert, own, { ...others, onProgress }));
    parts.push({ ...evaluation, questions: own.filter((example) => "prompt" in example).length });
    done += own.length;
  }
  const counts = model.tasks.map((name, task) => [name, routes.filter((route) => route === task).length] as const);
  return { ...joined(parts, examples.length), routes: Object.fromEntries(counts) };
}

async function withModel<T>(opening: Promise<Model>, use: (model: Model) => Promise<T>): Promise<T> {
  const model = await opening;
  try {
    return await use(model);
  } finally {
    disposeDecoder(model.decoder);
  }
}

/** Base and one expert's task vector as one model, in memory. The caller disposes its decoder. */
export async function expertModel(model: RoutedModel, task: number, signal?: AbortSignal): Promise<Model> {
  const plan = await planRecipe(foldRecipe(model, task), signal === undefined ? {} : { signal });
  return modelFromTensors(model.base, await mergeTensors(plan, { pool: requireBackend().pool, ...(signal === undefined ? {} : { signal }) }));
}

/** JSON strings are YAML, and the map form takes paths as they are. */
function foldRecipe({ folder, base }: RoutedModel, task: number): { text: string; file: string } {
  const [path, lora] = [base, resolve(folder, `${task + 1}`)].map((place) => JSON.stringify(place));
  return { text: `merge_method: passthrough\nmodels:\n  - model: { model: { path: ${path} }, lora: { path: ${lora} } }\n`, file: "routed.yml" };
}

interface Part extends Evaluation {
  readonly questions: number;
}

/** One evaluation of several parts of the data: losses weigh by tokens, exact matches by the number of questions. */
function joined(parts: readonly Part[], examples: number): Evaluation {
  const weighted = (value: (part: Part) => number | undefined, weight: (part: Part) => number) => {
    const known = parts.filter((part) => value(part) !== undefined);
    const sum = known.reduce((total, part) => total + weight(part), 0);
    return known.length === 0 ? undefined : known.reduce((total, part) => total + (value(part) ?? 0) * weight(part), 0) / sum;
  };
  const tokens = parts.reduce((sum, part) => sum + (part.tokens ?? 0), 0);
  const tooLong = parts.reduce((sum, part) => sum + (part.tooLong ?? 0), 0);
  const loss = weighted(
    (part) => part.loss,
    (part) => part.tokens ?? 0,
  );
  const exactMatch = weighted(
    (part) => part.exactMatch,
    (part) => part.questions,
  );
  return {
    examples,
    tokens,
    ...(loss === undefined ? {} : { loss, perplexity: Math.exp(loss) }),
    ...(exactMatch === undefined ? {} : { exactMatch }),
    ...(tooLong > 0 ? { tooLong } : {}),
  };
}

/** Writes the expert that most of the data goes to as an ordinary model; returns its name and share. */
export async function freezeRouted(
  model: RoutedModel,
  data: string,
  out: string,
  options: { readonly overwrite?: boolean; readonly threads?: number; readonly limit?: number; readonly signal?: AbortSignal } = {},
): Promise<{ task: string; share: number }> {
  await initBackend(options.threads === undefined ? {} : { threads: options.threads });
  const examples = (await readUnlabelled(data)).slice(0, options.limit);
  const routes = await withModel(loadModel(model.base), async (base) => routesOf(model, base, examples));
  const counts = model.tasks.map((_, task) => routes.filter((route) => route === task).length);
  const task = counts.indexOf(Math.max(...counts));
  const { limit: _limit, ...merge } = options;
  await mergeByRecipe(foldRecipe(model, task), out, merge);
  return { task: model.tasks[task] ?? "", share: (counts[task] ?? 0) / routes.length };
}
