// One cell, carried out by what the command of its name calls. Node only.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { compareModels } from "../../analysis/compare.ts";
import { openCheckpoint } from "../../checkpoints/open-checkpoint.ts";
import { createPool } from "../../compute/pool.ts";
import { type Diagnostic, inputError, throwIfCancelled } from "../../diagnostics.ts";
import type { CellOutput } from "../../notebook/cell-output.ts";
import type { CellKind } from "../../notebook/notebook.ts";
import { modelOpener } from "../../plan/open-model.ts";
import { hasStages } from "../../recipe/stages.ts";
import { runMerge } from "../../run/execute.ts";
import { ARENA_SLACK_BYTES } from "../../run/memory.ts";
import type { LogRecord } from "../../train/log.ts";
import type { TrainOptions } from "../../train/train.ts";
import type { CommandContext } from "../command.ts";
import { planText } from "../load-plan.ts";
import type { Output, Progress } from "../output.ts";
import type { TrainingEngine } from "../training-device.ts";
import { compareOutput, readCompareCell } from "./compare-cell.ts";
import { evalOutput, readEvalCell } from "./eval-cell.ts";
import { fromHere, intoFolder } from "./output-folders.ts";

/** What a cell is run with. The current folder is the notebook's: paths in cells are relative to it. */
export interface CellRun {
  readonly name: string;
  /** References are resolved. */
  readonly text: string;
  /** The notebook, absolute. */
  readonly file: string;
  /** Of all outputs, absolute. */
  readonly folder: string;
  readonly threads: number;
  readonly memoryBytes: number;
  /** What computes models; chosen when first asked for. */
  readonly engine: () => Promise<TrainingEngine>;
  readonly context: CommandContext;
}

/** A device that failed is a word on stderr: the cell is done. */
const told = (output: Output) => (warning: Diagnostic) => output.diagnostics([warning]);

type RunCell = (run: CellRun) => Promise<CellOutput>;

function counted(output: Output, stage: string, unit: Progress["unit"]): (done: number, total: number, detail: string) => void {
  return (done, total, detail) => output.progress({ stage, done, total, unit, detail });
}

const merge: RunCell = async ({ name, text, file, folder, threads, memoryBytes, context }) => {
  const { signal } = context;
  if (hasStages(text))
    throw inputError("notebook-many-recipes", "a merge cell holds one recipe", { file, remedy: "give each a cell and a name, and use its result as $name" });
  const { plan } = await planText(text, file, modelOpener(file, { signal }), { seed: 0, memoryBytes });
  const progress = counted(context.output, "merge", "bytes");
  const result = await intoFolder(folder, name, (out) =>
    runMerge(plan, {
      out,
      memoryBytes,
      threads,
      signal,
      overwrite: true,
      onProgress: ({ bytesDone, bytesTotal, tensor }) => progress(bytesDone, bytesTotal, tensor),
    }),
  );
  const { tensors, bytesWritten, seconds, warnings } = result;
  return { kind: "merge", out: fromHere(result.out), tensors, bytes: bytesWritten, seconds, warnings };
};

const compare: RunCell = async ({ text, file, threads, memoryBytes, context: { output, signal } }) => {
  const { base: basePath, models: paths, density } = readCompareCell(text, file);
  const base = basePath === undefined ? undefined : await openCheckpoint(basePath, { signal });
  const models = await Promise.all(paths.map((path) => openCheckpoint(path, { signal })));
  const pool = createPool({ threads, maxMemoryBytes: memoryBytes + ARENA_SLACK_BYTES });
  try {
    const onProgress = counted(output, "compare", "bytes");
    const comparison = await compareModels(base, models, { pool, memoryBytes, density, signal, onProgress });
    return compareOutput(comparison, basePath, paths);
  } finally {
    await pool.close();
  }
};

const evaluate: RunCell = async ({ text, file, threads, engine, context: { output, signal } }) => {
  const request = readEvalCell(text, file);
  const { openEvaluator } = await import("../../evaluate/evaluators.ts");
  const total = request.metrics.length * request.subjects.length;
  let done = 0;
  const onMetric = (detail: string) => output.progress({ stage: "eval", done: done++, total, unit: "items", detail });
  const evaluator = await openEvaluator(request.metrics, { threads, ...(await engine()), signal, seed: request.seed, onMetric, onWarning: told(output) });
  const scores: Readonly<Record<string, number>>[] = [];
  for (const subject of request.subjects) {
    throwIfCancelled(signal);
    scores.push(await ("model" in subject ? evaluator.model(subject.model) : evaluator.recipe({ text: subject.recipe, file })));
  }
  const named = request.subjects.map((subject) => ("model" in subject ? { ...subject, name: fromHere(subject.model) } : subject));
  return evalOutput({ ...request, subjects: named }, scores);
};

const pareto: RunCell = async ({ name, text, file, folder, threads, engine, context }) => {
  const [{ parseParetoConfig }, { runPareto }] = await Promise.all([import("../../pareto/pareto-config.ts"), import("../../pareto/run-pareto.ts")]);
  const config = parseParetoConfig(text, file);
  const progress = counted(context.output, "pareto", "items");
  const onProgress = (p: { done: number; total: number; detail: string }) => progress(p.done, p.total, p.detail);
  // A search keeps its trials: run again unchanged, it has them all.
  const shared = { threads, ...(await engine()), signal: context.signal };
  const run = (out: string, overwrite: boolean) => runPareto(config, out, { ...shared, overwrite, onProgress });
  const { front, frontFile } = await intoFolder(folder, name, run, true);
  return { kind: "pareto", out: fromHere(frontFile), front };
};

const train: RunCell = async ({ name, text, file, folder, threads, engine, context }) => {
  const [{ parseTrainConfig }, { runTraining }] = await Promise.all([import("../../train/config.ts"), import("../../slices/run-training.ts")]);
  const config = parseTrainConfig(text, file);
  const progress = counted(context.output, "train", "steps");
  const shared = { threads, ...(await engine()), signal: context.signal, onWarning: told(context.output) };
  const onProgress: TrainOptions["onProgress"] = (p) => progress(p.step, p.totalSteps, `loss ${p.loss.toFixed(4)}`);
  const run = (out: string, overwrite: boolean) => runTraining(config, out, { ...shared, overwrite, onProgress });
  const { out, steps, parameters, trainLoss, validationLoss, seconds } = await intoFolder(folder, name, run);
  const log = await readFile(join(out, "training-log.jsonl"), "utf8");
  const records = log.split("\n").flatMap((line) => (line === "" ? [] : (JSON.parse(line) as LogRecord)));
  const validation = validationLoss === undefined ? {} : { validationLoss };
  return { kind: "train", out: fromHere(out), steps, parameters, trainLoss, seconds, records, ...validation };
};

export const RUN_CELL: Readonly<Record<CellKind, RunCell>> = { merge, compare, eval: evaluate, pareto, train };
