// A training run from config to finished folder. Node only.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Blas } from "../compute/providers/blas.ts";
import type { TfjsDevice } from "../compute/providers/load-tfjs.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { meanLossBy } from "../evaluate/loss.ts";
import { DEFAULT_MAX_LENGTH, readExamples, type TokenRow, tokenize } from "../nn/data.ts";
import { initEngine } from "../nn/engine.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model, randomModel } from "../nn/model.ts";
import { type RopeTable, ropeTable } from "../nn/rope.ts";
import { writeJson } from "../nn/save.ts";
import { type BatchPlan, planBatches } from "./batches.ts";
import type { TrainConfig } from "./config.ts";
import { type Measurement, watchLosses } from "./early-stopping.ts";
import { type LogRecord, openLog } from "./log.ts";
import { makeOptimizer, type Optimizer } from "./make-optimizer.ts";
import { makeTrainable } from "./make-trainable.ts";
import { restoreState, saveState } from "./run-state.ts";
import { takeStep } from "./take-step.ts";
import type { Trainable } from "./trainable.ts";

export interface TrainProgress extends LogRecord {
  readonly totalSteps: number;
}

export interface TrainOptions {
  readonly threads?: number;
  /** Where models are computed in place of this processor. */
  readonly device?: TfjsDevice | undefined;
  /** Multiplies matrices where our kernels compute the rest; loaded for one thread. */
  readonly blas?: Blas | undefined;
  readonly signal?: AbortSignal;
  readonly overwrite?: boolean;
  /** After every step. */
  readonly onProgress?: (progress: TrainProgress) => void;
}

export interface TrainResult {
  readonly out: string;
  readonly method: TrainConfig["method"]["kind"];
  /** What computed: `cpu`, or the name of a library or of a device. */
  readonly engine: string;
  readonly steps: number;
  /** Step a killed run was taken up from; 0 for a fresh one. */
  readonly resumedFrom: number;
  /** Numbers that training changed. */
  readonly parameters: number;
  readonly examples: number;
  /** Answers left out because they exceed max_length. */
  readonly skippedTooLong: number;
  /** Of the last step, in nats per token. */
  readonly trainLoss: number;
  readonly validationLoss: number | undefined;
  /** The step whose weights were kept, where early stopping chose. */
  readonly bestStep?: number;
  readonly seconds: number;
}

const BUILT_IN = "cpu";

/** A run in memory. */
interface Run {
  readonly config: TrainConfig;
  readonly trainable: Trainable;
  readonly optimizer: Optimizer;
  readonly batches: BatchPlan;
  readonly validation: readonly TokenRow[];
  readonly table: RopeTable;
  readonly engine: string;
}

/**
 * Trains and writes `out`: a model folder (full) or a PEFT adapter (lora), with the config, the loss log and a summary beside.
 * Work goes to `out.partial`; with `saveEvery` a killed run is taken up from there and ends with the same weights.
 * @throws WeightsmithError `output-exists`, `resume-other-run`, `data-*`, `training-diverged`, `cancelled`, and what loading throws
 */
export async function train(config: TrainConfig, out: string, options: TrainOptions = {}): Promise<TrainResult> {
  const started = performance.now();
  if (config.slices !== undefined) throw new TypeError("slices are trained part by part: call runTraining");
  if (existsSync(out) && !options.overwrite)
    throw inputError("output-exists", "the output exists already", { file: out, remedy: "choose another, or pass --overwrite" });
  const { threads, device, blas } = options;
  await initEngine({ ...(threads === undefined ? {} : { threads }), device, blas });
  const model =
    config.init === "random" ? await randomModel(config.model, config.seed) : await loadModel(config.model, { ...options, frozen: isFrozen(config) });
  const { rows, skipped, validation } = await readAllRows(model, config).catch((error: unknown) => {
    disposeDecoder(model.decoder);
    throw error;
  });
  const trainable = await makeTrainable(model, config, rows, options.signal);
  try {
    checkHook(trainable, config);
    const table = ropeTable(model.decoder.config, Math.max(...[...rows, ...validation].map((row) => row.tokens.length)));
    const batches = planBatches(config, rows);
    const optimizer = makeOptimizer(trainable.parameters, config.optimizer, config.seed, trainable.factorScale);
    const run: Run = { config, trainable, optimizer, batches, validation, table, engine: blas?.name ?? device ?? BUILT_IN };
    const outcome = await runInPartialFolder(run, out, options).finally(() => optimizer.dispose());
    const parameters = [...trainable.parameters.values()].reduce((sum, tensor) => sum + tensor.size, 0);
    const seconds = (performance.now() - started) / 1000;
    return { out, method: config.method.kind, engine: run.engine, parameters, examples: rows.length, skippedTooLong: skipped, ...outcome, seconds };
  } finally {
    trainable.dispose();
  }
}

/** Whether the base stays in the type that it is stored in. */
const isFrozen = ({ method, baseDtype }: TrainConfig): boolean => method.kind !== "full" && baseDtype !== "float32";

/** @throws WeightsmithError `optimizer-needs-lora` */
function checkHook({ factorScale }: Trainable, { optimizer }: TrainConfig): void {
  if ((optimizer.loraPro === true || optimizer.rule?.name === "lora_pro_adamw") && factorScale === undefined)
    throw inputError("optimizer-needs-lora", "lora_pro changes the gradients of LoRA's factors, and none are trained", {
      remedy: "use method: lora, or another optimizer without lora_pro",
    });
}

async function readAllRows(model: Model, config: TrainConfig): Promise<{ rows: TokenRow[]; skipped: number; validation: TokenRow[] }> {
  const { rows, skipped } = await readRows(model, config, config.data.train);
  const { rows: validation } = await readRows(model, config, config.data.validation);
  if (rows.length === 0) throw inputError("data-empty", "no example fits", { found: `${skipped} longer than max_length`, remedy: "raise max_length" });
  return { rows, skipped, validation };
}

/** Each file is a task of its own, which only families that tell tasks apart ask for. */
async function readRows(model: Model, config: TrainConfig, files: readonly string[]): Promise<{ rows: TokenRow[]; skipped: number }> {
  const { maxPositions, eosTokenIds } = model.decoder.config;
  const rows: TokenRow[] = [];
  let skipped = 0;
  for (const [task, file] of files.entries()) {
    for (const example of await readExamples(file)) {
      const found = tokenize(example, model.codec, eosTokenIds[0], config.maxLength || Math.min(maxPositions, DEFAULT_MAX_LENGTH));
      if (found.length === 0) skipped++;
      rows.push(...found.map((row) => ({ ...row, task })));
    }
  }
  return { rows, skipped };
}

type Outcome = Pick<TrainResult, "steps" | "resumedFrom" | "trainLoss" | "validationLoss" | "bestStep">;

async function runInPartialFolder(run: Run, out: string, options: TrainOptions): Promise<Outcome> {
  const partial = `${out}.partial`;
  if (options.overwrite) await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  try {
    const outcome = await withChoice(run, await runSteps(run, partial, options), options);
    await run.trainable.save(partial);
    await writeJson(join(partial, "training.json"), { config: run.config, engine: run.engine, ...outcome, resumedFrom: undefined });
    for (const name of [STATE, BEST]) await rm(join(partial, name), { force: true });
    if (options.overwrite) await rm(out, { recursive: true, force: true });
    await rename(partial, out);
    return outcome;
  } catch (error) {
    // Without saved states there is nothing to take up again.
    if (!existsSync(join(partial, STATE))) await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

/** What is left to choose after the last step is chosen by the validation loss, which is then that of the choice. */
async function withChoice(run: Run, outcome: Outcome, { signal }: TrainOptions): Promise<Outcome> {
  const { trainable, validation, config } = run;
  const options = { batchSize: config.batchSize, ...(signal === undefined ? {} : { signal }) };
  const lossOf = () => meanLossBy((rows) => trainable.pass(rows), trainable.decoder.config, validation, options);
  const validationLoss = await trainable.choose?.(validation.length === 0 ? undefined : lossOf);
  return validationLoss === undefined ? outcome : { ...outcome, validationLoss };
}

const STATE = "run-state.safetensors";
/** The weights with the lowest validation loss. */
const BEST = "best-state.safetensors";

async function runSteps(run: Run, folder: string, options: TrainOptions): Promise<Outcome> {
  const { config } = run;
  const { totalSteps } = run.batches;
  const { parameters, memory } = run.trainable;
  const learned = { parameters, ...(memory === undefined ? {} : { memory }) };
  const live = { ...learned, optimizer: run.optimizer.state };
  const fingerprint = fingerprintOf(run);
  const resumedFrom = await restoreState(join(folder, STATE), live, fingerprint);
  const log = await openLog(join(folder, "training-log.jsonl"), resumedFrom);
  const records = [...log.kept];
  const stopping = () => (config.earlyStopping === undefined ? undefined : watchLosses(measurementsOf(records), config.earlyStopping));
  for (let step = resumedFrom + 1; step <= totalSteps && stopping()?.over !== true; step++) {
    await setImmediate();
    throwIfCancelled(options.signal);
    const record = await runStep(run, step, options);
    records.push(record);
    await log.append(record);
    options.onProgress?.({ ...record, totalSteps });
    if (stopping()?.best?.step === step) await saveState(join(folder, BEST), learned, step, fingerprint);
    if (config.saveEvery > 0 && step % config.saveEvery === 0) await saveState(join(folder, STATE), live, step, fingerprint);
  }
  const last = records.at(-1);
  const outcome = { steps: last?.step ?? totalSteps, resumedFrom, trainLoss: last?.loss ?? Number.NaN, validationLoss: last?.validationLoss };
  const best = stopping()?.best;
  if (best === undefined) return outcome;
  await restoreState(join(folder, BEST), learned, fingerprint);
  return { ...outcome, bestStep: best.step, validationLoss: best.loss };
}

const measurementsOf = (records: readonly LogRecord[]): Measurement[] =>
  records.flatMap(({ step, validationLoss }) => (validationLoss === undefined ? [] : [{ step, loss: validationLoss }]));

async function runStep(run: Run, step: number, { signal }: TrainOptions): Promise<LogRecord> {
  const { config, trainable } = run;
  const started = performance.now();
  const { tokens, ...outcome } = takeStep(run, step);
  const record = { step, ...outcome, tokensPerSecond: Math.round((1000 * tokens) / (performance.now() - started)) };
  const measure = run.validation.length > 0 && (step === run.batches.totalSteps || (config.evalEvery > 0 && step % config.evalEvery === 0));
  if (!measure) return record;
  const lossOptions = { batchSize: config.batchSize, ...(signal === undefined ? {} : { signal }) };
  return { ...record, validationLoss: await meanLossBy((rows) => trainable.pass(rows), trainable.decoder.config, run.validation, lossOptions) };
}

/** Names everything that the result depends on, so that a state is only taken up by the run that saved it. */
function fingerprintOf(run: Run): string {
  const { saveEvery: _, baseDtype: __, ...config } = run.config;
  const hash = createHash("sha256").update(JSON.stringify(config));
  // Another engine rounds otherwise: a run ends where it began.
  if (run.engine !== BUILT_IN) hash.update(run.engine);
  for (const { tokens, lossFrom } of run.batches.rows) hash.update(`${lossFrom}:${tokens.join()};`);
  for (const tensor of run.trainable.decoder.weights.values()) hash.update(tensor.dataSync<"float32">());
  return hash.digest("hex");
}
