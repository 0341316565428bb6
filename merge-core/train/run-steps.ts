// The steps of a run: from where it stands to the last one, or to where early stopping ends it. Node only.
import { createHash } from "node:crypto";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type Diagnostic, throwIfCancelled } from "../diagnostics.ts";
import { meanLossBy } from "../evaluate/loss.ts";
import type { TokenRow } from "../nn/data.ts";
import { isDeviceFailure } from "../nn/engine.ts";
import { type Measurement, watchLosses } from "./early-stopping.ts";
import { type LogRecord, openLog } from "./log.ts";
import { type EngineSpan, restoreState, saveState } from "./run-state.ts";
import { type SteppedRun, takeStep } from "./take-step.ts";

/** A run in memory. */
export interface Run extends SteppedRun {
  readonly validation: readonly TokenRow[];
  /** What computes. */
  readonly engine: string;
}

export interface TrainProgress extends LogRecord {
  readonly totalSteps: number;
}

export interface StepsOptions {
  readonly signal?: AbortSignal;
  /** After every step. */
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly onWarning?: (warning: Diagnostic) => void;
}

export interface StepsOutcome {
  readonly steps: number;
  /** Step a stopped run was taken up from; 0 for a fresh one. */
  readonly resumedFrom: number;
  /** Of the last step, in nats per token. */
  readonly trainLoss: number;
  readonly validationLoss: number | undefined;
  /** The step whose weights were kept, where early stopping chose. */
  readonly bestStep?: number;
  /** What computed which steps, where it was not the same for all. */
  readonly engines?: readonly EngineSpan[];
}

export const STATE = "run-state.safetensors";
/** The weights with the lowest validation loss. */
export const BEST = "best-state.safetensors";

/**
 * Goes on from the state in the folder, if there is one. Where a device fails, the steps that it did are saved there first.
 * @throws WeightsmithError `resume-other-run`, `training-diverged`, `device-failed`, `cancelled`
 */
export async function runSteps(run: Run, folder: string, options: StepsOptions): Promise<StepsOutcome> {
  const { config, engine } = run;
  const { totalSteps } = run.batches;
  const { parameters, memory } = run.trainable;
  const learned = { parameters, ...(memory === undefined ? {} : { memory }) };
  const live = { ...learned, optimizer: run.optimizer.state };
  const fingerprint = fingerprintOf(run);
  const { step: resumedFrom, engines: before } = await restoreState(join(folder, STATE), live, { fingerprint, engine });
  const engines = spansWith(before, { engine, from: resumedFrom + 1 });
  if (engines.length > before.length && resumedFrom > 0) options.onWarning?.(engineChanged(engines));
  const save = (file: string, state: typeof live | typeof learned, step: number) => saveState(join(folder, file), state, step, { fingerprint, engines });
  const log = await openLog(join(folder, "training-log.jsonl"), resumedFrom);
  const records = [...log.kept];
  const stopping = () => (config.earlyStopping === undefined ? undefined : watchLosses(measurementsOf(records), config.earlyStopping));
  const finish = async (stepped: LogRecord): Promise<void> => {
    const record = isMeasured(run, stepped.step) ? { ...stepped, validationLoss: await validate(run, options) } : stepped;
    records[record.step - 1] = record;
    await log.put(record);
    options.onProgress?.({ ...record, totalSteps });
    if (stopping()?.best?.step === record.step) await save(BEST, learned, record.step);
    if (config.saveEvery > 0 && record.step % config.saveEvery === 0) await save(STATE, live, record.step);
  };
  /** The last step that is done, while no other has begun to change anything. */
  let settled: number | undefined = resumedFrom;
  try {
    const last = records.at(-1);
    if (last !== undefined && last.validationLoss === undefined && isMeasured(run, last.step)) await finish(last);
    for (let step = resumedFrom + 1; step <= totalSteps && stopping()?.over !== true; step++) {
      await setImmediate();
      throwIfCancelled(options.signal);
      const stepped = runStep(run, step, () => {
        settled = undefined;
      });
      await log.put(stepped);
      settled = step;
      await finish(stepped);
    }
  } catch (error) {
    if (isDeviceFailure(error) && settled !== undefined && settled > 0) await save(STATE, live, settled);
    throw error;
  }
  const last = records.at(-1);
  const outcome = {
    steps: last?.step ?? totalSteps,
    resumedFrom,
    trainLoss: last?.loss ?? Number.NaN,
    validationLoss: last?.validationLoss,
    ...(engines.length > 1 ? { engines } : {}),
  };
  const best = stopping()?.best;
  if (best === undefined) return outcome;
  await restoreState(join(folder, BEST), learned, { fingerprint, engine });
  return { ...outcome, bestStep: best.step, validationLoss: best.loss };
}

const spansWith = (before: readonly EngineSpan[], next: EngineSpan): readonly EngineSpan[] =>
  before.at(-1)?.engine === next.engine ? before : [...before, next];

function engineChanged(engines: readonly EngineSpan[]): Diagnostic {
  const message = "the run goes on elsewhere than where it began: its last digits depend on where that was";
  return { code: "engine-changed", severity: "warning", message, found: engines.map(({ engine, from }) => `${engine} from step ${from}`).join(", ") };
}

const measurementsOf = (records: readonly LogRecord[]): Measurement[] =>
  records.flatMap(({ step, validationLoss }) => (validationLoss === undefined ? [] : [{ step, loss: validationLoss }]));

function runStep(run: Run, step: number, onChange: () => void): LogRecord {
  const started = performance.now();
  const { tokens, ...outcome } = takeStep(run, step, onChange);
  return { step, ...outcome, tokensPerSecond: Math.round((1000 * tokens) / (performance.now() - started)) };
}

const isMeasured = ({ config, batches, validation }: Run, step: number): boolean =>
  validation.length > 0 && (step === batches.totalSteps || (config.evalEvery > 0 && step % config.evalEvery === 0));

function validate({ config, trainable, validation }: Run, { signal }: StepsOptions): Promise<number> {
  const options = { batchSize: config.batchSize, ...(signal === undefined ? {} : { signal }) };
  return meanLossBy((rows) => trainable.pass(rows), trainable.decoder.config, validation, options);
}

/** Names everything that the result depends on but what computes, so that a state is only taken up by the run that saved it. */
function fingerprintOf(run: Run): string {
  const { saveEvery: _, baseDtype: __, ...config } = run.config;
  const hash = createHash("sha256").update(JSON.stringify(config));
  for (const { tokens, lossFrom } of run.batches.rows) hash.update(`${lossFrom}:${tokens.join()};`);
  for (const tensor of run.trainable.decoder.weights.values()) hash.update(tensor.dataSync<"float32">());
  return hash.digest("hex");
}
