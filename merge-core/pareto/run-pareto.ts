// weightsmith pareto: MAP over the coefficients of a recipe, every trial in a journal, the whole in pareto.json. Node only.
import { rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { WeightsmithError } from "../diagnostics.ts";
import { parseRecipe } from "../recipe/parse-recipe.ts";
import { VERSION } from "../version.ts";
import { runBayesianMap } from "./bayesian-map.ts";
import { FRONT_FILE, type FrontFile, type FrontPoint } from "./front-file.ts";
import { type FittedSurrogate, type MapProblem, type MeasureHow, runMap } from "./map.ts";
import { NESTED_SAMPLES, runNestedMap } from "./nested-map.ts";
import type { ParetoConfig } from "./pareto-config.ts";
import { referenceDirections } from "./reference-directions.ts";
import { nothingMeasuredIn, openSearchRun, type SearchOptions, type SearchRun } from "./search-run.ts";
import { summariseFront } from "./summarise-front.ts";
import type { TrialOutcome } from "./trials.ts";

export interface ParetoOutcome {
  readonly front: FrontFile;
  readonly frontFile: string;
  readonly resumed: number;
  readonly seconds: number;
}

/** Searches, and writes `out`. @throws WeightsmithError for bad input; a failed trial is no error */
export async function runPareto(config: ParetoConfig, out: string, options: SearchOptions = {}): Promise<ParetoOutcome> {
  const started = performance.now();
  const middle = config.recipe.textAt(config.recipe.dimensions.map(({ low, high }) => (low + high) / 2));
  const baselines = config.baselines ? baselinesOf(middle, config.place.file) : [];
  const request = {
    out,
    file: config.place.file,
    configText: config.text,
    seed: config.seed,
    objectives: config.objectives,
    exampleRecipe: middle,
    totalTrials: baselines.length + trialCount(config),
  };
  const run = await openSearchRun(request, options);
  const points: FrontPoint[] = [];
  for (const { label, text } of baselines) addPoint(points, { kind: "baseline", label }, await run.measure(text, label), config.objectives);
  const save = (front: FrontFile) => replaceFile(join(out, FRONT_FILE), `${JSON.stringify(front, undefined, 2)}\n`);
  let savedMs = Number.NEGATIVE_INFINITY;
  const onPoint = async () => {
    if (performance.now() - savedMs < LIVE_INTERVAL_MS) return;
    await save({ ...frontOf(config, points, []), unfinished: true });
    savedMs = performance.now();
  };
  const surrogates = await search(config, run, points, onPoint).catch((error: unknown) => {
    if (!(error instanceof WeightsmithError && error.code === "search-nothing-measured")) throw error;
    throw nothingMeasuredIn(out, points.filter(({ status }) => status === "failed").length, run.failures);
  });
  const front = frontOf(config, points, surrogates);
  await save(front);
  return { front, frontFile: join(out, FRONT_FILE), resumed: run.resumed, seconds: (performance.now() - started) / 1000 };
}

/** Those who look on see a search grow this often. */
const LIVE_INTERVAL_MS = 1000;

/** What the file says of these points. */
function frontOf(config: ParetoConfig, points: readonly FrontPoint[], surrogates: readonly FittedSurrogate[]): FrontFile {
  return {
    format: "weightsmith-pareto",
    version: 1,
    weightsmith: VERSION,
    config: { file: resolve(config.place.file), text: config.text },
    method: config.method,
    seed: config.seed,
    objectives: config.objectives.map(({ name, direction, metric, source }) => ({ name, direction, metric, ...(source === undefined ? {} : { source }) })),
    coefficients: config.recipe.dimensions.map(({ name, low, high }) => ({ name, range: [low, high] })),
    ...summariseFront(
      points,
      config.objectives.map(({ direction }) => direction),
      config.reference,
    ),
    surrogates: surrogates.map(({ link, coefficients, fitError, frontError, points: count }, i) => ({
      objective: config.objectives[i]?.name ?? "",
      link,
      coefficients,
      fitError,
      frontError: frontError ?? null,
      points: count,
    })),
  };
}

/** Evenly spread weights that sum to 1, as shares of each coefficient's range. */
function simplexPoints({ recipe: { dimensions }, front }: ParetoConfig): number[][] {
  return referenceDirections(dimensions.length, front).map((shares) => dimensions.map(({ low, high }, i) => low + (shares[i] ?? 0) * (high - low)));
}

function trialCount(config: ParetoConfig): number {
  const { method, samples, front, recipe } = config;
  if (method === "simplex") return simplexPoints(config).length;
  const n = recipe.dimensions.length;
  return method === "nested_map" ? n + (n - 1) * (NESTED_SAMPLES + 2) + 1 : samples + front;
}

async function search(config: ParetoConfig, run: SearchRun, points: FrontPoint[], onPoint: () => Promise<void>): Promise<readonly FittedSurrogate[]> {
  const { recipe, objectives, method, preference } = config;
  const problem: MapProblem = {
    box: { low: recipe.dimensions.map(({ low }) => low), high: recipe.dimensions.map(({ high }) => high) },
    directions: objectives.map(({ direction }) => direction),
    links: objectives.map(({ link }) => link),
    async measure(settings, how) {
      const wanted = how.objectives?.map((i) => objectives[i]).filter((objective) => objective !== undefined) ?? objectives;
      const results: (number[] | undefined)[] = [];
      for (const [i, x] of settings.entries()) {
        const outcome = await run.measure(recipe.textAt(x), `${how.kind} ${i + 1} of ${settings.length}`, wanted);
        addSetting(points, { x, how, i }, outcome, config);
        await onPoint();
        results.push("error" in outcome ? undefined : wanted.map(({ name }) => outcome.values[name] ?? Number.NaN));
      }
      return results;
    },
  };
  if (method === "simplex") {
    await problem.measure(simplexPoints(config), { kind: "front" });
    return [];
  }
  if (method === "nested_map") {
    markChosen(points, await runNestedMap(problem, { ...config, preference: preference ?? [] }));
    return [];
  }
  return (await (method === "bmap" ? runBayesianMap : runMap)(problem, config)).surrogates;
}

/** What Nested MAP comes to is a setting that it has measured on the way, so it is listed already: as one of its samples. */
function markChosen(points: FrontPoint[], chosen: readonly number[]): void {
  const at = points.findIndex(({ coefficients }) => coefficients?.every((c, i) => c === chosen[i]));
  const point = points[at];
  if (point !== undefined) points[at] = { ...point, id: "front-1", kind: "front" };
}

/** A setting that was measured before, such as a proposal that falls on a sample, is not listed again. */
export function addSetting(
  points: FrontPoint[],
  { x, how, i }: { x: readonly number[]; how: MeasureHow; i: number },
  outcome: TrialOutcome,
  { objectives }: ParetoConfig,
): void {
  const prediction = how.predicted?.[i];
  const predicted = prediction === undefined ? {} : { predicted: prediction };
  const at = points.findIndex(({ coefficients }) => coefficients?.every((c, j) => c === x[j]));
  const before = points[at];
  if (before === undefined) {
    addPoint(points, { kind: how.kind, coefficients: x, ...predicted }, outcome, objectives);
    return;
  }
  const fresh = "error" in outcome ? {} : outcome.values;
  const values = objectives.map(({ name }, k) => fresh[name] ?? before.values[k] ?? null);
  points[at] = { ...before, ...predicted, values, evaluated: values.every((value) => value !== null) };
}

function addPoint(
  points: FrontPoint[],
  known: Pick<FrontPoint, "kind" | "label" | "coefficients" | "predicted">,
  outcome: TrialOutcome,
  objectives: ParetoConfig["objectives"],
): void {
  const failed = "error" in outcome;
  const values = objectives.map(({ name }) => (failed ? null : (outcome.values[name] ?? null)));
  const id = `${known.kind}-${points.filter(({ kind }) => kind === known.kind).length + 1}`;
  const error = failed ? { error: outcome.error } : {};
  points.push({ id, ...known, values, evaluated: values.every((value) => value !== null), status: failed ? "failed" : "done", ...error, onFront: false });
}

/** The recipe's input models by themselves, and the average of those that are not the base. */
function baselinesOf(recipeText: string, file: string): { label: string; text: string }[] {
  const { recipe } = parseRecipe(recipeText, file);
  const sources = recipe?.modules.flatMap((module) => module.slices.flatMap((slice) => slice.sources)) ?? [];
  const experts = [...new Set(sources.filter(({ isBase }) => !isBase).map(({ model }) => model.text))];
  const all = [...(recipe?.base === undefined ? [] : [recipe.base.text]), ...experts];
  const alone = all.map((model) => ({ label: lastPart(model), text: stringify({ merge_method: "passthrough", models: [{ model }] }) }));
  const weighted = experts.map((model) => ({ model, parameters: { weight: 1 } }));
  return experts.length < 2 ? alone : [...alone, { label: "average", text: stringify({ merge_method: "linear", models: weighted, ...dtypeOf(recipeText) }) }];
}

const lastPart = (path: string): string => path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;

function dtypeOf(recipeText: string): { dtype?: string } {
  const match = /^dtype: (\S+)$/m.exec(recipeText);
  return match?.[1] === undefined ? {} : { dtype: match[1] };
}

export async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}
