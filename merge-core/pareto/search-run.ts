// One search on disk: settings of the coefficients go in, numbers come out, and every trial goes through the journal. Node only.
import { join } from "node:path";
import { throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import { planRecipe } from "../evaluate/evaluators.ts";
import type { EngineOptions } from "../nn/engine.ts";
import { sha256 } from "../plan/plan-hash.ts";
import { fingerprintInputs } from "../run/shard-files.ts";
import { nothingMeasured } from "./map.ts";
import { hashObjectives, type MeasureRecipe, type Objective, openObjectives, reasonOf } from "./objectives.ts";
import { openTrials, TRIALS_FILE, type TrialOutcome } from "./trials.ts";

/** `threads`, `blas` and `device` say what computes the models. */
export interface SearchOptions extends EngineOptions {
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: SearchProgress) => void;
}

export interface SearchProgress {
  readonly done: number;
  readonly total: number;
  readonly detail: string;
}

export interface SearchRunRequest {
  readonly out: string;
  /** Name of the configuration's file; relative paths of recipes start there. */
  readonly file: string;
  readonly configText: string;
  readonly seed: number;
  readonly objectives: readonly Objective[];
  /** Any one recipe of the search, to see that it can be planned and what it reads. */
  readonly exampleRecipe: string;
  readonly totalTrials: number;
}

export interface SearchRun {
  /** Trials taken from the journal of an earlier, unfinished run. */
  readonly resumed: number;
  /** Why trials failed, each reason once. */
  readonly failures: ReadonlySet<string>;
  /** Measures one recipe. A trial that fails is noted and returned as such. @throws WeightsmithError `cancelled` alone */
  measure(recipe: string, label: string, objectives?: readonly Objective[]): Promise<TrialOutcome>;
}

/** @throws WeightsmithError what is wrong with the recipe, the data or the output, before anything is measured */
export async function openSearchRun(request: SearchRunRequest, options: SearchOptions): Promise<SearchRun> {
  const { file, seed, objectives } = request;
  const evaluatorOptions = {
    seed,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    blas: options.blas,
    device: options.device,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
  const plan = await planRecipe({ text: request.exampleRecipe, file }, evaluatorOptions).catch((error: unknown) => {
    throw withoutPlaces(error, file);
  });
  const measured = await openObjectives(objectives, evaluatorOptions);
  const inputs = await fingerprintInputs(plan);
  // Another engine rounds otherwise.
  const engine = options.blas?.name ?? options.device;
  const config = sha256(request.configText);
  const identity = { format: "weightsmith-trials", version: 1, config, seed, objectives: await hashObjectives(objectives), inputs, engine };
  const trials = await openTrials(request.out, JSON.stringify(identity), options.overwrite ?? false);
  const failures = new Set<string>();
  let done = 0;
  return {
    resumed: trials.resumed,
    failures,
    async measure(text, label, wanted = objectives) {
      throwIfCancelled(options.signal);
      options.onProgress?.({ done, total: Math.max(done + 1, request.totalTrials), detail: label });
      const key = sha256(text);
      const failed = failureKey(text, wanted);
      const outcome =
        covering(trials.get(key), wanted) ??
        trials.get(failed) ??
        (await tryRecipe(measured, { text, file }, wanted, options.signal, (result, seconds) => trials.put("error" in result ? failed : key, result, seconds)));
      if ("error" in outcome) failures.add(outcome.error);
      done++;
      options.onProgress?.({ done, total: Math.max(done, request.totalTrials), detail: `${label}: ${describe(outcome)}` });
      return outcome;
    },
  };
}

/** A failure is one of what was wanted: what was measured of the same recipe before, or will be, stands. */
const failureKey = (text: string, wanted: readonly Objective[]): string => sha256([text, ...wanted.map(({ name }) => name)].join("\0"));

/** A known outcome if it says all that is wanted. */
function covering(outcome: TrialOutcome | undefined, wanted: readonly Objective[]): TrialOutcome | undefined {
  if (outcome === undefined || "error" in outcome) return undefined;
  return wanted.every(({ name }) => Object.hasOwn(outcome.values, name)) ? outcome : undefined;
}

async function tryRecipe(
  measure: MeasureRecipe,
  recipe: { text: string; file: string },
  wanted: readonly Objective[],
  signal: AbortSignal | undefined,
  note: (outcome: TrialOutcome, seconds: number) => Promise<void>,
): Promise<TrialOutcome> {
  const started = performance.now();
  let outcome: TrialOutcome;
  try {
    const values = await measure(recipe, wanted);
    const bad = wanted.find(({ name }) => !Number.isFinite(values[name]));
    outcome = bad === undefined ? { values } : { error: `metric-not-a-number: ${bad.name} is ${values[bad.name]}` };
  } catch (error) {
    throwIfCancelled(signal);
    outcome = { error: reasonOf(error) };
  }
  await note(outcome, (performance.now() - started) / 1000);
  return outcome;
}

const describe = (outcome: TrialOutcome): string =>
  "error" in outcome
    ? `failed, ${outcome.error}`
    : Object.entries(outcome.values)
        .map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`)
        .join(", ");

/** That no trial gave a number, with the reasons and where all of them stand. @param folder of the journal */
export function nothingMeasuredIn(folder: string, trials: number, reasons: Iterable<string>): WeightsmithError {
  const remedy = `${join(folder, TRIALS_FILE)} says why each failed; once the reason is mended outside of the configuration, start anew with --overwrite`;
  return nothingMeasured(trials, { remedy, reasons });
}

/** Places in the made recipe mean nothing in the configuration. */
export function withoutPlaces(error: unknown, file: string): unknown {
  if (!(error instanceof WeightsmithError)) return error;
  return new WeightsmithError(
    error.diagnostics.map(({ range, fix: _, ...rest }) => (range !== undefined && rest.file !== file ? { ...rest, range } : rest)),
    { exitCode: error.exitCode, cause: error },
  );
}
