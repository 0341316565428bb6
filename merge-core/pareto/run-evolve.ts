// weightsmith evolve: CMA-ES over the numbers of a recipe or a stack of layers, as in evolutionary merging (Akiba et al. 2024, 2403.13187).
// Every trial goes through the journal, so a killed search goes on where it was. Node only.
import { rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { planRecipe } from "../evaluate/evaluators.ts";
import { runMerge } from "../run/execute.ts";
import { VERSION } from "../version.ts";
import { CmaEs } from "./cma-es.ts";
import { EVOLUTION_FILE, type EvolutionFile, type EvolutionTrial } from "./evolution-file.ts";
import type { EvolveConfig, WeightedObjective } from "./evolve-config.ts";
import { type Objective, reasonOf } from "./objectives.ts";
import { nothingMeasuredIn, openSearchRun, type SearchOptions, type SearchRun } from "./search-run.ts";
import { refuseSharedSplit } from "./splits.ts";
import type { TrialOutcome } from "./trials.ts";

export interface EvolveOptions extends SearchOptions {
  readonly allowSameSplit?: boolean;
}

export interface EvolveOutcome {
  readonly evolution: EvolutionFile;
  readonly evolutionFile: string;
  /** Folder of the best trial's checkpoint. */
  readonly model: string;
  readonly resumed: number;
  readonly seconds: number;
}

/** Searches, and writes `out` with the trials and the best checkpoint. @throws WeightsmithError for bad input, `split-used-twice`, `search-nothing-measured` */
export async function runEvolve(config: EvolveConfig, out: string, options: EvolveOptions = {}): Promise<EvolveOutcome> {
  const started = performance.now();
  const { allowSameSplit = false } = options;
  if (!allowSameSplit) await refuseSharedSplit(config.objectives, config.report);
  const { genomes, objectives, early, report, place, seed } = config;
  const request = {
    out,
    file: place.file,
    configText: config.text,
    seed,
    objectives: [...objectives, ...(early?.objectives ?? []), ...report],
    exampleRecipe: genomes.recipeOf(genomes.start),
    totalTrials: config.trials + (report.length > 0 ? 2 : 0),
  };
  const run = await openSearchRun(request, options);
  const { trials, stopped } = await search(config, run);
  const [start] = trials;
  const best = trials
    .filter(({ status }) => status === "done")
    .reduce<Candidate | undefined>((a, b) => ((a?.fitness ?? Number.NEGATIVE_INFINITY) >= (b.fitness ?? 0) ? a : b), undefined);
  if (best?.recipe === undefined) throw nothingMeasuredIn(out, trials.length, run.failures);
  const [before, after] = [await reportOn(run, start, report), await reportOn(run, best, report)];
  const failure = before.error ?? after.error;
  const reported = report.length === 0 ? null : { start: before.values, best: after.values, ...(failure === undefined ? {} : { error: failure }) };
  const evolution: EvolutionFile = {
    format: "weightsmith-evolution",
    version: 1,
    weightsmith: VERSION,
    config: { file: resolve(place.file), text: config.text },
    seed,
    objectives: objectives.map(({ name, direction, metric, source, weight }) => ({
      name,
      direction,
      metric,
      weight,
      ...(source === undefined ? {} : { source }),
    })),
    names: genomes.names,
    trials: trials.map(({ recipe: _, ...trial }) => trial),
    best: best.id,
    recipe: best.recipe,
    reported,
    sameSplit: allowSameSplit,
    stopped,
  };
  const signalled = options.signal === undefined ? {} : { signal: options.signal };
  const plan = await planRecipe({ text: best.recipe, file: place.file }, { seed, ...signalled });
  const model = join(out, "model");
  await runMerge(plan, { out: model, overwrite: true, ...(options.threads === undefined ? {} : { threads: options.threads }), ...signalled });
  const file = join(out, EVOLUTION_FILE);
  await writeFile(`${file}.new`, `${JSON.stringify(evolution, undefined, 2)}\n`);
  await rename(`${file}.new`, file);
  return { evolution, evolutionFile: file, model, resumed: run.resumed, seconds: (performance.now() - started) / 1000 };
}

type Candidate = EvolutionTrial & { readonly recipe?: string };

/** All trials: the start, then generation by generation until the budget, which may cut the last one short, or the search is at its end. */
async function search(
  { genomes, trials: budget, population, seed, objectives, early }: EvolveConfig,
  run: SearchRun,
): Promise<{ trials: Candidate[]; stopped: string }> {
  const { start, low, high, sigma } = genomes;
  const cma = new CmaEs({ mean: start, sigma, low, high, seed, ...(population === undefined ? {} : { population }) });
  const trials: Candidate[] = [];
  const note = (genome: readonly number[], generation: number, result: Result): Candidate => {
    const recipe = tryRecipe(genomes, genome);
    const trial = { id: trials.length + 1, generation, values: genomes.valuesOf(genome), ...result, ...("error" in recipe ? {} : { recipe: recipe.text }) };
    trials.push(trial);
    return trial;
  };
  const measure = async (genome: readonly number[], label: string, wanted: readonly WeightedObjective[]): Promise<Result> => {
    const recipe = tryRecipe(genomes, genome);
    return resultOf("error" in recipe ? recipe : await run.measure(recipe.text, label, wanted), wanted);
  };
  note(start, 0, await measure(start, "start", objectives));
  let generation = 0;
  while (cma.stopped === undefined && trials.length < budget) {
    generation++;
    const asked = cma.ask().slice(0, budget - trials.length);
    const label = (i: number) => `generation ${generation}, ${i + 1} of ${asked.length}`;
    const cheap: (Result | undefined)[] = [];
    for (const [i, { x }] of asked.entries()) cheap.push(early && (await measure(x, `${label(i)}, early`, early.objectives)));
    const goOn = early === undefined ? undefined : bestOf(cheap, Math.max(1, Math.ceil(early.keep * asked.length)));
    const results: Candidate[] = [];
    for (const [i, { x }] of asked.entries()) {
      const before = cheap[i];
      const dropped = before !== undefined && goOn?.has(i) === false;
      const result = dropped
        ? { ...before, status: before.status === "failed" ? ("failed" as const) : ("rejected" as const) }
        : await measure(x, label(i), objectives);
      results.push(note(x, generation, result));
    }
    if (asked.length === cma.population) cma.tell(costsOf(results));
  }
  return { trials, stopped: cma.stopped ?? "budget used" };
}

type Result = Pick<EvolutionTrial, "measured" | "fitness" | "status" | "error">;

function resultOf(outcome: TrialOutcome, objectives: readonly WeightedObjective[]): Result {
  if ("error" in outcome) return { measured: {}, fitness: null, status: "failed", error: outcome.error };
  const measured = Object.fromEntries(objectives.map(({ name }) => [name, outcome.values[name] ?? Number.NaN]));
  const fitness = objectives.reduce((sum, { name, weight, direction }) => sum + (direction === "maximize" ? weight : -weight) * (measured[name] ?? 0), 0);
  return { measured, fitness, status: "done" };
}

/** A genome may be no recipe, such as a stack without layers. */
function tryRecipe(genomes: EvolveConfig["genomes"], genome: readonly number[]): { text: string } | { error: string } {
  try {
    return { text: genomes.recipeOf(genome) };
  } catch (error) {
    return { error: reasonOf(error) };
  }
}

/** Indices of the `count` fittest; failures never go on. */
function bestOf(results: readonly (Result | undefined)[], count: number): Set<number> {
  const worth = (i: number) => results[i]?.fitness ?? Number.NEGATIVE_INFINITY;
  const order = [...results.keys()].filter((i) => results[i]?.status === "done").sort((a, b) => worth(b) - worth(a) || a - b);
  return new Set(order.slice(0, count));
}

/** Costs for CMA-ES, of which only the order counts: rejected trials come after all that were measured in full, failures last. */
export function costsOf(results: readonly Pick<EvolutionTrial, "fitness" | "status">[]): number[] {
  const full = results.filter(({ status }) => status === "done").map(({ fitness }) => -(fitness ?? 0));
  const worst = Math.max(...full);
  const step = (worst - Math.min(...full) || 1) / results.length;
  const rejected = results.filter(({ status }) => status === "rejected").sort((a, b) => (b.fitness ?? 0) - (a.fitness ?? 0));
  return results.map((result) => {
    if (result.status === "failed") return Number.POSITIVE_INFINITY;
    return result.status === "done" ? -(result.fitness ?? 0) : worst + step * (1 + rejected.indexOf(result));
  });
}

interface Report {
  readonly values: Readonly<Record<string, number>>;
  readonly error?: string;
}

async function reportOn(run: SearchRun, trial: Candidate | undefined, report: readonly Objective[]): Promise<Report> {
  if (trial?.recipe === undefined || report.length === 0) return { values: {} };
  const outcome = await run.measure(trial.recipe, `report on trial ${trial.id}`, report);
  if ("error" in outcome) return { values: {}, error: outcome.error };
  return { values: Object.fromEntries(report.map(({ name }) => [name.replace(/^report: /, ""), outcome.values[name] ?? Number.NaN])) };
}
