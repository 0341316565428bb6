// One adaptation from recipe and data to a model on disk. Node only.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inputError, WeightsmithError } from "../diagnostics.ts";
import { planRecipe } from "../evaluate/evaluators.ts";
import { rowEntropies } from "../evaluate/likelihood.ts";
import { mergeByRecipe } from "../evaluate/recipe-merge.ts";
import { hashFiles } from "../evaluate/score-cache.ts";
import { initBackend } from "../nn/backend.ts";
import type { TokenRow } from "../nn/data.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model } from "../nn/model.ts";
import { type SavedDType, saveModel } from "../nn/save.ts";
import { fingerprintInputs } from "../run/shard-files.ts";
import { checkOutput } from "../run/work-folder.ts";
import { openStepJournal } from "../train/step-journal.ts";
import { type AdaMergingOptions, type Adapted, adaMerging } from "./adamerging.ts";
import { fillFolder, readRows, requireDataForEach } from "./adapt-files.ts";
import { concreteAdaMerging, concreteTaskArithmetic } from "./concrete.ts";
import { entropyShares, fitMixture, shareCoefficients } from "./dawin.ts";
import { coefficientRecipe, combine, decoderOf, type Masks, readTaskVectors, type TaskVectors } from "./task-vectors.ts";
import { tiesVectors } from "./ties-vectors.ts";
import { buildWeMoe, freezeWeMoe, trainRouters } from "./wemoe.ts";

export const ADAPTATIONS = ["adamerging", "adamerging++", "concrete", "concrete_adamerging", "dawin", "wemoe", "e_wemoe"] as const;
export type Adaptation = (typeof ADAPTATIONS)[number];

export interface AdaptationRequest extends AdaMergingOptions {
  readonly method: Adaptation;
  readonly recipe: { readonly text: string; readonly file: string };
  /** JSONL files, one for each model of the recipe, in their order; labels are not looked at. */
  readonly data: readonly string[];
  readonly out: string;
  readonly overwrite?: boolean;
  readonly threads?: number;
  readonly limit?: number;
  /** Merges of DaWin; with more than one, OUT holds a folder for each. Default 1. */
  readonly components?: number;
  /** Of concrete masks: see ConcreteOptions. */
  readonly maskSteps?: number;
  readonly maskLr?: number;
  readonly innerLr?: number;
  readonly temperature?: number;
  /** Share of the MLPs' task vectors that e_wemoe drops. Default 0.9. */
  readonly prune?: number;
  /** Of models that no recipe describes. Default BF16. */
  readonly dtype?: SavedDType;
  /** Least time in ms between saves of what was learned so far, in `OUT.learning`. Default 10000. */
  readonly saveEvery?: number;
}

export interface AdaptationResult {
  readonly out: string;
  readonly method: Adaptation;
  /** Entropy summed over tasks, the means over the first and over the last tenth of the steps; missing where nothing was learned by steps. */
  readonly entropy?: readonly [first: number, last: number];
  /** How many examples belong to each merge of DaWin. */
  readonly samples?: readonly number[];
  /** Means over tensors, by task. */
  readonly coefficients: Readonly<Record<string, number>>;
  /** Recipes of the merges, where a recipe can describe them. */
  readonly recipes: readonly string[];
}

/** What `adapt.json` says of a model that no recipe describes. */
const RECORD_FILE = "adapt.json";

/** @throws WeightsmithError `adapt-*`, `output-*`, `data-*`, `cancelled`, and what models and merging report */
export async function runAdaptation(request: AdaptationRequest): Promise<AdaptationResult> {
  const { recipe, data, out, overwrite = false, signal, threads } = request;
  await checkOutput({ out, overwrite, inputs: data });
  await initBackend(threads === undefined ? {} : { threads });
  const vectors = await readTaskVectors(recipe.text, recipe.file, signal);
  try {
    // DaWin asks every model about all data; the others learn on each model's own.
    if (request.method !== "dawin" || data.length === 0) requireDataForEach(vectors.tasks, data);
    const rows = await Promise.all(data.map((file) => readRows(vectors.base, file, request.limit)));
    const { saveEvery: every } = request;
    const journal = await openStepJournal(`${out}.learning`, await identityOf(request, vectors), { overwrite, ...(every === undefined ? {} : { every }) });
    const result = await adapt({ ...request, journal }, vectors, rows).catch(async (error: unknown) => {
      // Nothing comes of going on from there.
      if (error instanceof WeightsmithError && error.code === "adapt-diverged") await journal.discard();
      throw error;
    });
    await journal.discard();
    return result;
  } finally {
    disposeDecoder(vectors.base.decoder);
  }
}

/** Of what was asked for, the part that decides what is learned from given models and data. */
function settingsOf(request: AdaptationRequest): object {
  const { method, per, steps, maskSteps, maskLr, innerLr, temperature, prune, clamp, lr, init, batchSize, seed } = request;
  return { method, per, steps, maskSteps, maskLr, innerLr, temperature, prune, clamp, lr, init, batchSize, seed };
}

/** What the learned numbers depend on. */
async function identityOf(request: AdaptationRequest, vectors: TaskVectors): Promise<string> {
  const { recipe, data } = request;
  const none = vectors.tasks.map(() => vectors.names.map(() => 0));
  const plan = await planRecipe({ text: coefficientRecipe(recipe.text, vectors, none), file: recipe.file }, {});
  const settings = { limit: request.limit, ...settingsOf(request) };
  return JSON.stringify({ format: "weightsmith-learning", version: 1, settings, data: await hashFiles(data), inputs: await fingerprintInputs(plan) });
}

async function adapt(request: AdaptationRequest, vectors: TaskVectors, rows: readonly (readonly TokenRow[])[]): Promise<AdaptationResult> {
  const { method } = request;
  if (method === "dawin") return adaptByEntropy(request, vectors, rows);
  if (method === "wemoe" || method === "e_wemoe") return adaptRouters(request, vectors, rows);
  if (method === "adamerging") {
    const { coefficients, losses } = await adaMerging(vectors, rows, request);
    const text = coefficientRecipe(request.recipe.text, vectors, coefficients);
    await mergeText(request, text, request.out);
    return { ...summary(request, vectors, coefficients, losses), recipes: [text] };
  }
  const source = method === "adamerging++" ? tiesVectors(vectors) : vectors;
  const learn = method === "concrete" ? concreteTaskArithmetic : method === "concrete_adamerging" ? concreteAdaMerging : adaMerging;
  const learned: Adapted & { readonly masks?: Masks } = await learn(source, rows, request);
  const { coefficients, losses, masks } = learned;
  const decoder = decoderOf(source, combine(source, coefficients, masks));
  const result = summary(request, vectors, coefficients, losses);
  try {
    await saveRecorded({ ...vectors.base, decoder }, request, result);
  } finally {
    disposeDecoder(decoder);
  }
  return result;
}

/** As in the paper of E-WEMoE. */
const EFFICIENT_PRUNE = 0.9;

async function adaptRouters(request: AdaptationRequest, vectors: TaskVectors, rows: readonly (readonly TokenRow[])[]): Promise<AdaptationResult> {
  const { method, prune = EFFICIENT_PRUNE, ...options } = request;
  const model = buildWeMoe(vectors, method === "wemoe" ? options : { ...options, prune, sharedRouter: true });
  try {
    const losses = await trainRouters(model.decoder, rows, request);
    const result = summary(request, vectors, [], losses);
    await saveRecorded(model, request, result);
    return result;
  } finally {
    disposeDecoder(model.decoder);
  }
}

/** Several experts share the weight of task arithmetic; one expert is interpolated with its base (the paper's sections for each). */
async function adaptByEntropy(request: AdaptationRequest, vectors: TaskVectors, rows: readonly (readonly TokenRow[])[]): Promise<AdaptationResult> {
  const { out, components = 1, init = 0.3, seed = 0, signal } = request;
  const all = rows.flat();
  const isPair = vectors.tasks.length === 1;
  const byModel: number[][] = isPair ? [await rowEntropies(vectors.base.decoder, all, signal === undefined ? {} : { signal })] : [];
  for (const task of vectors.tasks.keys()) byModel.push(await expertEntropies(vectors, task, all, signal));
  const shares = entropyShares(all.map((_, i) => byModel.map((own) => own[i] ?? Number.NaN)));
  const coefficientsOf = (mean: readonly number[]) => (isPair ? mean.slice(1) : shareCoefficients(mean, init));
  if (!shares.flat().every(Number.isFinite))
    throw inputError("adapt-not-finite", "an expert's entropy is not a number", { remedy: "look for NaN in the experts" });
  const { means, assignments } = fitMixture(shares, components, seed);
  const coefficients = means.map((mean) => coefficientsOf(mean).map((value) => vectors.names.map(() => value)));
  const recipes = coefficients.map((own) => coefficientRecipe(request.recipe.text, vectors, own));
  const [only] = recipes;
  if (components === 1 && only !== undefined) await mergeText(request, only, out);
  else {
    await fillFolder(out, request.overwrite ?? false, async (folder) => {
      for (const [k, text] of recipes.entries()) await mergeText(request, text, join(folder, `${k + 1}`));
      await writeFile(join(folder, "assignments.json"), `${JSON.stringify(splitBy(rows, assignments))}\n`);
    });
  }
  const overall = coefficientsOf(fitMixture(shares, 1).means[0] ?? []);
  const samples = means.map((_, k) => assignments.filter((own) => own === k).length);
  return {
    ...summary(
      request,
      vectors,
      overall.map((value) => [value]),
      [],
    ),
    recipes,
    samples,
  };
}

/** Of each data file's rows, which merge they belong to, counted from 1. */
function splitBy(rows: readonly (readonly TokenRow[])[], assignments: readonly number[]): number[][] {
  let first = 0;
  return rows.map((own) => {
    first += own.length;
    return assignments.slice(first - own.length, first).map((k) => k + 1);
  });
}

/** Of one expert, the entropy at each row. */
export async function expertEntropies(vectors: TaskVectors, task: number, rows: readonly TokenRow[], signal?: AbortSignal): Promise<number[]> {
  const decoder = decoderOf(
    vectors,
    combine(
      vectors,
      vectors.tasks.map((_, t) => vectors.names.map(() => (t === task ? 1 : 0))),
    ),
  );
  try {
    return await rowEntropies(decoder, rows, signal === undefined ? {} : { signal });
  } finally {
    disposeDecoder(decoder);
  }
}

async function mergeText({ recipe, seed, signal, threads, overwrite }: AdaptationRequest, text: string, out: string): Promise<void> {
  const options = { ...(seed === undefined ? {} : { seed }), ...(signal === undefined ? {} : { signal }), ...(threads === undefined ? {} : { threads }) };
  await mergeByRecipe({ text, file: recipe.file }, out, { ...options, overwrite: overwrite ?? false });
}

function summary(
  request: AdaptationRequest,
  { tasks }: TaskVectors,
  coefficients: readonly (readonly number[])[],
  losses: readonly number[],
): AdaptationResult {
  const mean = (own: readonly number[]) => own.reduce((sum, value) => sum + value, 0) / own.length;
  // Single steps see a batch each, some of which are harder than others.
  const tenth = Math.ceil(losses.length / 10);
  const [first, last] = losses.length === 0 ? [] : [mean(losses.slice(0, tenth)), mean(losses.slice(-tenth))];
  return {
    out: request.out,
    method: request.method,
    ...(first === undefined || last === undefined ? {} : { entropy: [first, last] as const }),
    coefficients: Object.fromEntries(tasks.flatMap((task, t) => (coefficients[t] === undefined ? [] : [[task, mean(coefficients[t])]]))),
    recipes: [],
  };
}

/** The model, with a record of how it was made. */
async function saveRecorded(model: Model, request: AdaptationRequest, result: AdaptationResult): Promise<void> {
  const { recipe, data, seed = 0 } = request;
  const record = { ...settingsOf(request), recipe: recipe.text, data, seed, entropy: result.entropy, coefficients: result.coefficients };
  await fillFolder(request.out, request.overwrite ?? false, async (folder) => {
    await saveModel(model, folder, request.dtype ?? "BF16");
    await writeFile(join(folder, RECORD_FILE), `${JSON.stringify(record, undefined, 2)}\n`);
  });
}

/** Writes a mixture as an ordinary model for the domain of the data. */
export async function freezeMixture(
  path: string,
  data: string,
  out: string,
  options: { overwrite?: boolean; dtype?: SavedDType; threads?: number; limit?: number },
): Promise<void> {
  await checkOutput({ out, overwrite: options.overwrite ?? false, inputs: [path] });
  await initBackend(options.threads === undefined ? {} : { threads: options.threads });
  const model = await loadModel(path);
  try {
    if (model.decoder.config.experts === undefined)
      throw inputError("not-a-mixture", "the model is not a mixture of task vectors", { file: path, expected: "a model that adapt --method wemoe wrote" });
    const frozen = freezeWeMoe(model, await readRows(model, data, options.limit));
    try {
      await fillFolder(out, options.overwrite ?? false, (folder) => saveModel(frozen, folder, options.dtype ?? "BF16"));
    } finally {
      disposeDecoder(frozen.decoder);
    }
  } finally {
    disposeDecoder(model.decoder);
  }
}
