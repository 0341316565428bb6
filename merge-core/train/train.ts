// A training run from config to finished folder. Node only.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import * as tf from "@tensorflow/tfjs-core";
import { inputError, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import { meanLossBy } from "../evaluate/loss.ts";
import { initBackend } from "../nn/backend.ts";
import { DEFAULT_MAX_LENGTH, readExamples, type TokenRow, tokenize } from "../nn/data.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model, randomModel } from "../nn/model.ts";
import { type RopeTable, ropeTable } from "../nn/rope.ts";
import { writeJson } from "../nn/save.ts";
import { type BatchPlan, planBatches } from "./batches.ts";
import type { TrainConfig } from "./config.ts";
import { stepGradients } from "./gradients.ts";
import { type LogRecord, openLog } from "./log.ts";
import { makeTrainable } from "./make-trainable.ts";
import { type AdamState, adamW, createAdamState, disposeAdamState, globalNorm } from "./optimizer.ts";
import { restoreState, saveState } from "./run-state.ts";
import { learningRate } from "./schedule.ts";
import type { Trainable } from "./trainable.ts";

export interface TrainProgress extends LogRecord {
  readonly totalSteps: number;
}

export interface TrainOptions {
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly overwrite?: boolean;
  /** After every step. */
  readonly onProgress?: (progress: TrainProgress) => void;
}

export interface TrainResult {
  readonly out: string;
  readonly method: TrainConfig["method"]["kind"];
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
  readonly seconds: number;
}

/** A run in memory. */
interface Run {
  readonly config: TrainConfig;
  readonly trainable: Trainable;
  readonly adam: AdamState;
  readonly batches: BatchPlan;
  readonly validation: readonly TokenRow[];
  readonly table: RopeTable;
}

/**
 * Trains and writes `out`: a model folder (full) or a PEFT adapter (lora), with the config, the loss log and a summary beside.
 * Work goes to `out.partial`; with `saveEvery` a killed run is taken up from there and ends with the same weights.
 * @throws WeightsmithError `output-exists`, `resume-other-run`, `data-*`, `training-diverged`, `cancelled`, and what loading throws
 */
export async function train(config: TrainConfig, out: string, options: TrainOptions = {}): Promise<TrainResult> {
  const started = performance.now();
  if (existsSync(out) && !options.overwrite)
    throw inputError("output-exists", "the output exists already", { file: out, remedy: "choose another, or pass --overwrite" });
  await initBackend(options.threads === undefined ? {} : { threads: options.threads });
  const model = config.init === "random" ? await randomModel(config.model, config.seed) : await loadModel(config.model, options);
  const { rows, skipped, validation } = await readAllRows(model, config).catch((error: unknown) => {
    disposeDecoder(model.decoder);
    throw error;
  });
  const trainable = await makeTrainable(model, config, rows, options.signal);
  try {
    const table = ropeTable(model.decoder.config, Math.max(...[...rows, ...validation].map((row) => row.tokens.length)));
    const batches = planBatches(config, rows);
    const run: Run = { config, trainable, adam: createAdamState(trainable.parameters), batches, validation, table };
    const outcome = await runInPartialFolder(run, out, options).finally(() => disposeAdamState(run.adam));
    const parameters = [...trainable.parameters.values()].reduce((sum, tensor) => sum + tensor.size, 0);
    const seconds = (performance.now() - started) / 1000;
    return { out, method: config.method.kind, parameters, examples: rows.length, skippedTooLong: skipped, ...outcome, seconds };
  } finally {
    trainable.dispose();
  }
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

type Outcome = Pick<TrainResult, "steps" | "resumedFrom" | "trainLoss" | "validationLoss">;

async function runInPartialFolder(run: Run, out: string, options: TrainOptions): Promise<Outcome> {
  const partial = `${out}.partial`;
  if (options.overwrite) await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  try {
    const outcome = await withChoice(run, await runSteps(run, partial, options), options);
    await run.trainable.save(partial);
    await writeJson(join(partial, "training.json"), { config: run.config, ...outcome, resumedFrom: undefined });
    await rm(join(partial, STATE), { force: true });
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

async function runSteps(run: Run, folder: string, options: TrainOptions): Promise<Outcome> {
  const { config } = run;
  const { totalSteps } = run.batches;
  const { parameters, memory } = run.trainable;
  const live = { parameters, adam: run.adam, ...(memory === undefined ? {} : { memory }) };
  const fingerprint = fingerprintOf(run);
  const resumedFrom = await restoreState(join(folder, STATE), live, fingerprint);
  const log = await openLog(join(folder, "training-log.jsonl"), resumedFrom);
  let last: LogRecord | undefined;
  for (let step = resumedFrom + 1; step <= totalSteps; step++) {
    await setImmediate();
    throwIfCancelled(options.signal);
    last = await runStep(run, step, options);
    await log.append(last);
    options.onProgress?.({ ...last, totalSteps });
    if (config.saveEvery > 0 && step % config.saveEvery === 0) await saveState(join(folder, STATE), live, step, fingerprint);
  }
  last ??= log.last;
  return { steps: totalSteps, resumedFrom, trainLoss: last?.loss ?? Number.NaN, validationLoss: last?.validationLoss };
}

async function runStep(run: Run, step: number, { signal }: TrainOptions): Promise<LogRecord> {
  const { config, trainable } = run;
  const { totalSteps } = run.batches;
  const { parameters } = trainable;
  const started = performance.now();
  const progress = (step - 1) / totalSteps;
  const decoderOf = (pass: number, rows: readonly TokenRow[]) => trainable.pass(rows, { name: `${step}/${pass}`, progress });
  const { loss, gradients, tokens } = stepGradients(parameters, run.batches.ofStep(step), decoderOf, run.table);
  const gradNorm = globalNorm(gradients);
  if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) throw divergedError(step, loss, gradNorm);
  const lr = learningRate({ peak: config.optimizer.lr, totalSteps, ...config.schedule }, step);
  const gradientScale = config.maxGradNorm > 0 ? Math.min(1, config.maxGradNorm / gradNorm) : 1;
  adamW(parameters, gradients, run.adam, { ...config.optimizer, lr, step, gradientScale, rateOf: (name) => trainable.rateOf?.(name, progress) ?? 1 });
  trainable.afterStep?.(step);
  tf.dispose([...gradients.values()]);
  const tokensPerSecond = Math.round((1000 * tokens) / (performance.now() - started));
  const measure = run.validation.length > 0 && (step === totalSteps || (config.evalEvery > 0 && step % config.evalEvery === 0));
  if (!measure) return { step, loss, lr, gradNorm, tokensPerSecond };
  const lossOptions = { batchSize: config.batchSize, ...(signal === undefined ? {} : { signal }) };
  return {
    step,
    loss,
    lr,
    gradNorm,
    tokensPerSecond,
    validationLoss: await meanLossBy((rows) => trainable.pass(rows), trainable.decoder.config, run.validation, lossOptions),
  };
}

function divergedError(step: number, loss: number, gradNorm: number): WeightsmithError {
  return new WeightsmithError(
    {
      code: "training-diverged",
      severity: "error",
      message: `training diverged at step ${step}`,
      found: `loss ${loss}, gradient norm ${gradNorm}`,
      expected: "finite numbers",
      remedy: "lower optimizer.lr, or warm up for longer",
    },
    { exitCode: 1 },
  );
}

/** Names everything that the result depends on, so that a state is only taken up by the run that saved it. */
function fingerprintOf(run: Run): string {
  const { saveEvery: _, ...config } = run.config;
  const hash = createHash("sha256").update(JSON.stringify(config));
  for (const { tokens, lossFrom } of run.batches.rows) hash.update(`${lossFrom}:${tokens.join()};`);
  for (const tensor of run.trainable.decoder.weights.values()) hash.update(tensor.dataSync<"float32">());
  return hash.digest("hex");
}
