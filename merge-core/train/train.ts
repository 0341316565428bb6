// A training run from config to finished folder. Node only.
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Blas } from "../compute/providers/blas.ts";
import type { TfjsDevice } from "../compute/providers/load-tfjs.ts";
import { inputError } from "../diagnostics.ts";
import { meanLossBy } from "../evaluate/loss.ts";
import { DEFAULT_MAX_LENGTH, readExamples, type TokenRow, tokenize } from "../nn/data.ts";
import { type EngineOptions, onEngine } from "../nn/engine.ts";
import { disposeDecoder } from "../nn/load.ts";
import { loadModel, type Model, randomModel } from "../nn/model.ts";
import { ropeTable } from "../nn/rope.ts";
import { writeJson } from "../nn/save.ts";
import { planBatches } from "./batches.ts";
import type { TrainConfig } from "./config.ts";
import { makeOptimizer } from "./make-optimizer.ts";
import { makeTrainable } from "./make-trainable.ts";
import { BUILT_IN } from "./run-state.ts";
import { BEST, type Run, runSteps, STATE, type StepsOptions, type StepsOutcome } from "./run-steps.ts";
import type { Trainable } from "./trainable.ts";

export type { TrainProgress } from "./run-steps.ts";

export interface TrainOptions extends StepsOptions {
  readonly threads?: number;
  /** Where models are computed in place of this processor. */
  readonly device?: TfjsDevice | undefined;
  /** Multiplies matrices where our kernels compute the rest; loaded for one thread. */
  readonly blas?: Blas | undefined;
  readonly overwrite?: boolean;
}

export interface TrainResult extends StepsOutcome {
  readonly out: string;
  readonly method: TrainConfig["method"]["kind"];
  /** What computed, at the end: `cpu`, or the name of a library or of a device. */
  readonly engine: string;
  /** Numbers that training changed. */
  readonly parameters: number;
  readonly examples: number;
  /** Answers left out because they exceed max_length. */
  readonly skippedTooLong: number;
  readonly seconds: number;
}

/**
 * Trains and writes `out`: a model folder (full) or a PEFT adapter (lora), with the config, the loss log and a summary beside.
 * Work goes to `out.partial`; with `saveEvery` a killed run is taken up from there and ends with the same weights. Where a device fails,
 * our kernels go on after the last step that it did.
 * @throws WeightsmithError `output-exists`, `resume-other-run`, `data-*`, `training-diverged`, `cancelled`, and what loading throws
 */
export async function train(config: TrainConfig, out: string, options: TrainOptions = {}): Promise<TrainResult> {
  const started = performance.now();
  if (config.slices !== undefined) throw new TypeError("slices are trained part by part: call runTraining");
  if (existsSync(out) && !options.overwrite)
    throw inputError("output-exists", "the output exists already", { file: out, remedy: "choose another, or pass --overwrite" });
  const outcome = await onEngine(options, (engine, again) => trainOn(engine, config, out, { ...options, keep: again || options.overwrite !== true }));
  return { ...outcome, seconds: (performance.now() - started) / 1000 };
}

interface AttemptOptions extends TrainOptions {
  /** Takes up what lies in `out.partial`. */
  readonly keep: boolean;
}

async function trainOn({ device, blas }: EngineOptions, config: TrainConfig, out: string, options: AttemptOptions): Promise<Omit<TrainResult, "seconds">> {
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
    return { out, method: config.method.kind, engine: run.engine, parameters, examples: rows.length, skippedTooLong: skipped, ...outcome };
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

async function runInPartialFolder(run: Run, out: string, options: AttemptOptions): Promise<StepsOutcome> {
  const partial = `${out}.partial`;
  if (!options.keep) await rm(partial, { recursive: true, force: true });
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
async function withChoice(run: Run, outcome: StepsOutcome, { signal }: TrainOptions): Promise<StepsOutcome> {
  const { trainable, validation, config } = run;
  const options = { batchSize: config.batchSize, ...(signal === undefined ? {} : { signal }) };
  const lossOf = () => meanLossBy((rows) => trainable.pass(rows), trainable.decoder.config, validation, options);
  const validationLoss = await trainable.choose?.(validation.length === 0 ? undefined : lossOf);
  return validationLoss === undefined ? outcome : { ...outcome, validationLoss };
}
