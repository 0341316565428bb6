// Searches for the best of many merges by a metric on one split, reported on another. Merges are made in memory; what fails is noted and
// passed over. Numbers are cached by weights, data and metric, so that a killed search goes on where it was. Node only.
import { inputError, WeightsmithError } from "../../diagnostics.ts";
import { type Evaluator, type EvaluatorOptions, type MetricSpec, openEvaluator, type Scores } from "../evaluators.ts";
import { hashFiles } from "../score-cache.ts";
import type { Candidate } from "./candidates.ts";

export interface Trial {
  readonly label: string;
  /** Mean of the metrics; missing where the trial failed. */
  readonly score?: number;
  readonly scores?: Scores;
  /** Why it failed. */
  readonly error?: string;
}

export interface SearchOutcome {
  readonly trials: readonly Trial[];
  /** Index of the best. */
  readonly best: number;
  /** The recipe of the best. */
  readonly text: string;
  /** The best on data that chose nothing. */
  readonly report?: Scores;
}

export interface SearchOptions extends EvaluatorOptions {
  /** Metrics to report the chosen merge by. */
  readonly report?: readonly MetricSpec[];
  /** Allow data that chooses to be reported on. */
  readonly sameData?: boolean;
  readonly onTrial?: (trial: Trial, done: number, total: number) => void;
}

/** Measures merges against each other. All metrics must agree on which direction is better. */
export interface Judge {
  readonly evaluator: Evaluator;
  /** Runs one trial; only cancellation is thrown. */
  attempt(label: string, measure: (evaluator: Evaluator) => Promise<Scores>): Promise<Trial>;
  /** Whether `a` is strictly better; a failed trial never is, and anything is better than one. */
  better(a: Trial, b: Trial | undefined): boolean;
}

/** @throws WeightsmithError `metric-directions`, and as `openEvaluator` */
export async function openJudge(metrics: readonly MetricSpec[], options: EvaluatorOptions): Promise<Judge> {
  const directions = new Set(metrics.map(({ direction }) => direction));
  if (directions.size !== 1) {
    const found = metrics.map(({ name, direction }) => `${name}: ${direction}`).join(", ");
    throw inputError("metric-directions", "the mean of these metrics says nothing", { found: found || "no metrics", expected: "metrics with one direction" });
  }
  const sign = directions.has("min") ? -1 : 1;
  const evaluator = await openEvaluator(metrics, options);
  return {
    evaluator,
    async attempt(label, measure) {
      try {
        const scores = await measure(evaluator);
        const values = Object.values(scores);
        return { label, scores, score: values.reduce((sum, value) => sum + value, 0) / values.length };
      } catch (error) {
        if (error instanceof WeightsmithError && error.code === "cancelled") throw error;
        return { label, error: error instanceof Error ? error.message : String(error) };
      }
    },
    better: (a, b) => a.score !== undefined && (b?.score === undefined || sign * (a.score - b.score) > 0),
  };
}

/**
 * Tries every candidate; ties go to the first.
 * @param file where the recipes' relative paths start @throws WeightsmithError `search-failed` if no trial succeeds, `split-used-twice`, `cancelled`
 */
export async function searchRecipes(
  candidates: readonly Candidate[],
  file: string,
  metrics: readonly MetricSpec[],
  options: SearchOptions,
): Promise<SearchOutcome> {
  await refuseSharedData(metrics, options.report ?? [], options.sameData ?? false);
  const judge = await openJudge(metrics, options);
  const trials: Trial[] = [];
  let best = -1;
  for (const { label, text } of candidates) {
    const trial = await judge.attempt(label, (evaluator) => evaluator.recipe({ text, file }));
    trials.push(trial);
    if (judge.better(trial, trials[best])) best = trials.length - 1;
    options.onTrial?.(trial, trials.length, candidates.length);
  }
  const text = candidates[best]?.text;
  if (text === undefined) throw noSuccess(trials);
  return { trials, best, text, ...(await reportOn(text, file, options)) };
}

/** The chosen recipe on the reported data. */
export async function reportOn(text: string, file: string, { report = [], ...options }: SearchOptions): Promise<{ report?: Scores }> {
  if (report.length === 0) return {};
  return { report: await (await openEvaluator(report, options)).recipe({ text, file }) };
}

export function noSuccess(trials: readonly Trial[]): WeightsmithError {
  const notes = [...new Set(trials.flatMap(({ error }) => error ?? []))].slice(0, 5);
  return new WeightsmithError({ code: "search-failed", severity: "error", message: "no trial of the search succeeded", notes }, { exitCode: 1 });
}

/** @throws WeightsmithError `split-used-twice` if a file, by content, both chooses and reports */
export async function refuseSharedData(search: readonly MetricSpec[], report: readonly MetricSpec[], allowed: boolean): Promise<void> {
  if (allowed) return;
  const files = (specs: readonly MetricSpec[]) => [...new Set(specs.flatMap((spec) => (spec.kind === "builtin" ? spec.data : [])))];
  const chosen = new Map<string, string>();
  for (const file of files(search)) chosen.set(await hashFiles([file]), file);
  for (const file of files(report)) {
    const twin = chosen.get(await hashFiles([file]));
    if (twin === undefined) continue;
    throw inputError("split-used-twice", "the data that chooses the merge is also what it is reported on", {
      file,
      found: twin === file ? "the same file" : `the content of ${twin}`,
      expected: "a split that chose nothing",
      remedy: "report on held-out data, or allow it with --same-data",
    });
  }
}
