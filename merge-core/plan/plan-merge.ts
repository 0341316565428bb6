// Recipe + headers -> plan. Everything that can fail for a reason visible in headers fails here, before any tensor is read.
import { resolve } from "node:path";
import type { Diagnostic } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { alignNames } from "./align-names.ts";
import { buildJobs } from "./build-jobs.ts";
import { configChanges } from "./config-changes.ts";
import { estimate, foldedBytes, statisticRounds } from "./estimate.ts";
import { findStatistics } from "./find-statistics.ts";
import { type InputModels, openModels, statisticsOf } from "./input-models.ts";
import { matchInputs } from "./match-inputs.ts";
import { noteGradients } from "./note-gradients.ts";
import { noteMatrices } from "./note-matrices.ts";
import type { OpenModel } from "./open-model.ts";
import { placeJobs } from "./output-shards.ts";
import { outputTensors } from "./output-tensors.ts";
import { outputVocabulary } from "./output-vocabulary.ts";
import type { MergePlan, TensorJob, TokenizerPlan } from "./plan.ts";
import { planHash, sha256 } from "./plan-hash.ts";
import { isTokenizerFile, planTokenizer, specialTokenChanges } from "./plan-tokenizer.ts";
import { travellingFiles } from "./side-files.ts";
import { treatTensors } from "./treat-tensors.ts";

export interface PlanOptions {
  /** Key of all random numbers of the merge. */
  readonly seed?: number;
  /** Budget of the run; decides the estimates, never the result. */
  readonly memoryBytes?: number;
  /** Most bytes of tensor data per output shard. */
  readonly shardBytes?: number;
}

export interface PlanResult {
  /** Absent if any diagnostic is an error. */
  readonly plan?: MergePlan;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Plans a merge. Bad input becomes diagnostics; only failures of another kind (cancellation, bugs) are thrown.
 * @param open opens the model of a reference; see `modelOpener`
 */
export async function planMerge(
  recipe: Recipe,
  open: OpenModel,
  { seed = 0, memoryBytes = 4 * 2 ** 30, shardBytes = 5e9 }: PlanOptions = {},
): Promise<PlanResult> {
  const diagnostics: Diagnostic[] = [];
  const report = (d: Diagnostic) => void diagnostics.push(d);
  const failed = () => diagnostics.some(({ severity }) => severity === "error");
  const opened = await openModels(recipe, open, report);
  if (opened === undefined) return { diagnostics };
  const models = alignNames(recipe, opened, report);
  const vocabulary = await outputVocabulary(recipe, models, report);
  if (failed()) return { diagnostics };
  const { tensors: all, stackings } = outputTensors(recipe, models.checkpoints, report);
  const tensors = treatTensors(recipe, all, report);
  if (failed()) return { diagnostics };
  const { matched, untied } = matchInputs(recipe, tensors, vocabulary, report);
  if (failed()) return { diagnostics };
  const unplaced = buildJobs(recipe, matched, findStatistics(recipe, matched, models.checkpoints, report), report);
  const tokenizer = await planTokenizer(recipe, models, vocabulary, report);
  if (failed()) return { diagnostics };
  if (recipe.tokenizer !== undefined) vocabulary?.notes.tell(report, { file: recipe.file, range: recipe.tokenizer.range });
  const { shards, jobs } = placeJobs(unplaced, shardBytes);
  checkFolding(jobs, recipe, memoryBytes, report);
  if (failed()) return { diagnostics };
  const { checkpoint } = models.donor;
  noteDTypes(jobs, recipe, report);
  noteGradients(recipe, matched, report);
  noteStatistics(jobs, recipe, report);
  noteMatrices(jobs, recipe, report);
  if (checkpoint.config === undefined) report(noConfig(recipe, models));
  const facts = { tensors: unplaced, stackings, untied };
  const config = checkpoint.config === undefined ? [] : [...configChanges(recipe, checkpoint.config, facts), ...specialTokenChanges(models, vocabulary)];
  const text = { file: recipe.file, text: recipe.text, sha256: sha256(recipe.text) };
  const decided = {
    version: 1,
    recipe: text,
    method: recipe.method.id,
    seed,
    ...describeModels(recipe, models, tokenizer),
    ...(tokenizer && { tokenizer }),
    config,
    shards,
    jobs,
  } as const;
  const bytesToWrite = shards.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  // Searches make many plans that nobody asks for their hash.
  let hash: string | undefined;
  const plan: MergePlan = {
    ...decided,
    bytesToWrite,
    ...estimate(jobs, bytesToWrite, memoryBytes),
    findings: diagnostics,
    get planHash() {
      hash ??= planHash(decided);
      return hash;
    },
  };
  return { plan, diagnostics };
}

/** Adapted tensors are held whole while they are merged; what does not fit the budget is refused before the run. */
function checkFolding(jobs: readonly TensorJob[], recipe: Recipe, memoryBytes: number, report: (d: Diagnostic) => void): void {
  const largest = jobs.reduce<TensorJob | undefined>((most, job) => (foldedBytes(job) > (most === undefined ? 0 : foldedBytes(most)) ? job : most), undefined);
  if (largest === undefined || foldedBytes(largest) <= memoryBytes) return;
  report({
    code: "memory-budget",
    severity: "error",
    message: `the memory budget is too small to add adapters to tensor ${largest.name}`,
    file: recipe.file,
    found: `${memoryBytes} bytes`,
    expected: `at least ${foldedBytes(largest)}`,
    remedy: "raise --memory",
  });
}

function describeModels(
  recipe: Recipe,
  { checkpoints, donor: { reference, checkpoint } }: InputModels,
  tokenizer: TokenizerPlan | undefined,
): Pick<MergePlan, "models" | "donor"> {
  const statistics = new Set(statisticsOf(recipe).map(({ text }) => text));
  const models = [...checkpoints].map(([text, { folder, shards }]) => ({
    reference: text,
    folder: resolve(folder),
    files: shards.map(({ file, sizeBytes }) => ({ file, sizeBytes })),
    ...(statistics.has(text) && { statistics: true as const }),
  }));
  const donor = {
    reference: reference.text,
    folder: resolve(checkpoint.folder),
    files: travellingFiles(checkpoint.sideFiles).filter((name) => tokenizer === undefined || !isTokenizerFile(name)),
    hasConfig: checkpoint.config !== undefined,
  };
  return { models, donor };
}

/** Files of tensors need no config; a model among models does. */
function noConfig(recipe: Recipe, { donor, checkpoints }: InputModels): Diagnostic {
  const place = { file: recipe.file, range: donor.reference.range };
  if ([...checkpoints.values()].every(({ config }) => config === undefined))
    return { code: "tensors-alone", severity: "info", message: "no model has a config.json: the output is tensors alone", ...place };
  return {
    code: "config-missing",
    severity: "warning",
    message: `${donor.reference.text} has no config.json, so the output will have none`,
    ...place,
    remedy: "add the config by hand, or name a base_model that has one",
  };
}

/** Says what is read before the first tensor is merged. */
function noteStatistics(jobs: readonly TensorJob[], { file, methodRange: range }: Recipe, report: (d: Diagnostic) => void): void {
  const read = jobs.filter((job) => statisticRounds(job) > 0);
  if (read.length === 0) return;
  const rounds = Math.max(...read.map(statisticRounds));
  const message = `${read.length} tensors are read ${rounds === 1 ? "once more" : `${rounds} more times`}, for statistics over all of them, before the first is merged`;
  report({ code: "model-statistics", severity: "info", message, file, range });
}

/** Says where inputs of different dtypes meet, since the output can have only one of them. */
function noteDTypes(jobs: readonly TensorJob[], recipe: Recipe, report: (d: Diagnostic) => void): void {
  const mixed = jobs.filter((job) => job.kind === "merge" && new Set(job.inputs.map(({ dtype }) => dtype)).size > 1);
  const [first] = mixed;
  if (first?.kind !== "merge" || recipe.dtype !== undefined || recipe.outDtype !== undefined || !isFloat(first.dtype)) return;
  report({
    code: "dtypes-differ",
    severity: "info",
    message: `${mixed.length} tensors have different dtypes in the models; the result is ${first.dtype}`,
    file: recipe.file,
    found: first.inputs.map(({ dtype, model }) => `${dtype} in ${model}`).join(", "),
    remedy: "set dtype to choose another",
  });
}
