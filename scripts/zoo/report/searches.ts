// Searches, fronts and unlearning: what the commands pareto, evolve, train-front and unlearn find on the sample models.
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { openCheckpoint } from "../../../merge-core/checkpoints/open-checkpoint.ts";
import type { Scores } from "../../../merge-core/evaluate/evaluators.ts";
import { mergeByRecipe } from "../../../merge-core/evaluate/recipe-merge.ts";
import { makeSplits, TASKS, toJsonl } from "../../../merge-core/evaluate/synthetic-tasks.ts";
import { readTensors } from "../../../merge-core/nn/model.ts";
import { readEvolveConfig } from "../../../merge-core/pareto/evolve-config.ts";
import type { FrontFile, FrontPoint } from "../../../merge-core/pareto/front-file.ts";
import { hypervolume } from "../../../merge-core/pareto/hypervolume.ts";
import { readParetoConfig } from "../../../merge-core/pareto/pareto-config.ts";
import { runEvolve } from "../../../merge-core/pareto/run-evolve.ts";
import { runPareto } from "../../../merge-core/pareto/run-pareto.ts";
import { trainFront } from "../../../merge-core/pareto/train-front.ts";
import { readTrainFrontConfig } from "../../../merge-core/pareto/train-front-config.ts";
import { readUnlearnConfig } from "../../../merge-core/unlearn/config.ts";
import { type UnlearnReport, unlearn } from "../../../merge-core/unlearn/unlearn.ts";
import { SPLITS } from "../settings.ts";
import { type Bench, meanOf, QUICK, recipeText, TEST_QUESTIONS, ZOO } from "./bench.ts";
import type { Ordering } from "./orderings.ts";
import type { Row } from "./rows.ts";

/** Settings that each search may measure; a coefficient for each model, from 0 to this. */
export const BUDGET = { samples: QUICK ? 16 : 24, front: QUICK ? 3 : 8, trials: QUICK ? 9 : 24, most: 0.8 } as const;
/** Of training a front: far less than the experts had. */
export const FRONT_TRAINING = { steps: QUICK ? 2 : 40, batch_size: 8, rays: 3, lr: 3e-3, rank: 4, regularizer: 1 } as const;
const FRONT_TASKS = TASKS.slice(0, 2);

const zoo = (name: string): string => resolve(ZOO, name);
const percent = (value: number): string => (100 * value).toFixed(1);

/** JSON is YAML. */
function writeConfig(bench: Bench, name: string, config: object): string {
  const file = resolve(bench.folder, `${name}.yml`);
  writeFileSync(file, JSON.stringify(config));
  return file;
}

const lossesOf = (bench: Bench, seed: number) => bench.tasks.map((name) => ({ name, metric: "loss", data: resolve(bench.foldFile(seed, name)) }));
const meanLoss = ({ values }: FrontPoint): number => meanOf(values.map((value) => value ?? Number.NaN));
const least = (points: readonly FrontPoint[]): FrontPoint => points.reduce((best, point) => (meanLoss(point) < meanLoss(best) ? point : best));

/** The three ways to a front of all tasks, by what the table calls them. */
export const MAPS = { map: "MAP", bmap: "Bayesian MAP", nested_map: "Nested MAP" } as const;
export type MapMethod = keyof typeof MAPS;

/** One search for a front over one coefficient for each expert, on the seed's fold. */
export interface MapRun {
  readonly method: MapMethod;
  readonly seed: number;
  /** Settings that were measured whole, and how many there were in all. */
  readonly points: readonly (readonly number[])[];
  readonly trials: number;
  /** Mean over objectives of the surrogates' error at the points they proposed. */
  readonly surrogateError: number | null;
  /** Least mean loss of what was sampled, and of what was proposed. */
  readonly sampled: number;
  readonly proposed: number;
  /** Of the merge with the least mean loss. */
  readonly scores: Scores;
}

const search = { search: [0, BUDGET.most] };

export async function mapRun(bench: Bench, method: MapMethod, seed: number, threads: number): Promise<MapRun> {
  const models = bench.tasks.map(zoo);
  const settings = { base: zoo("base"), models, range: search.search, dtype: "bfloat16", objectives: lossesOf(bench, seed), seed, baselines: false };
  const budget = method === "nested_map" ? { preference: models.map(() => 1) } : { samples: BUDGET.samples, front: BUDGET.front };
  const config = await readParetoConfig(writeConfig(bench, `${method}${seed}`, { ...settings, method, ...budget }));
  const { front } = await runPareto(config, join(bench.folder, `${method}${seed}`), { threads, overwrite: true });
  const measured = front.points.filter(({ evaluated }) => evaluated);
  const of = (kind: string) => Math.min(...measured.filter((point) => point.kind === kind).map(meanLoss));
  const errors = front.surrogates.flatMap(({ frontError }) => frontError ?? []);
  return {
    method,
    seed,
    points: measured.map(({ values }) => values.map((value) => value ?? Number.NaN)),
    trials: front.points.length,
    surrogateError: errors.length === 0 ? null : meanOf(errors),
    sampled: of("sample"),
    proposed: of("front"),
    scores: await bench.testRecipe(config.recipe.textAt(least(measured).coefficients ?? []), seed),
  };
}

/** CMA-ES over the same coefficients; exact match of its best. */
export async function evolveRun(bench: Bench, seed: number, threads: number): Promise<Scores> {
  const weighted = {
    merge_method: "task_arithmetic",
    base_model: zoo("base"),
    models: bench.tasks.map((task) => ({ model: zoo(task), parameters: { weight: search } })),
    dtype: "bfloat16",
  };
  const file = writeConfig(bench, `evolve${seed}`, { recipe: weighted, objectives: lossesOf(bench, seed), trials: BUDGET.trials, seed });
  const { evolution } = await runEvolve(await readEvolveConfig(file), join(bench.folder, `evolve${seed}`), { threads, overwrite: true });
  return bench.testRecipe(evolution.recipe, seed);
}

export function searchRows(runs: readonly MapRun[], evolved: readonly Scores[]): Row[] {
  const row = (name: string, perSeed: readonly Scores[]): Row => ({ name, needs: "validation data", perSeed, chosen: [] });
  const maps = (Object.keys(MAPS) as MapMethod[]).map((method) =>
    row(
      `${MAPS[method]}, least mean loss`,
      runs.filter((run) => run.method === method).map(({ scores }) => scores),
    ),
  );
  return [...maps, row("CMA-ES over coefficients", evolved)];
}

export function mapOrderings(runs: readonly MapRun[]): Ordering[] {
  return (["map", "bmap"] as const).map((method) => {
    const own = runs.filter((run) => run.method === method);
    return {
      group: 6,
      claim: `${MAPS[method]}'s predicted front holds a point no worse than the best it sampled, on the search split`,
      holds: own.every(({ proposed, sampled }) => proposed <= sampled),
      figures: `mean losses ${own.map(({ proposed, sampled }) => `${proposed.toFixed(3)} and ${sampled.toFixed(3)}`).join("; ")}`,
    };
  });
}

export interface MapFront {
  readonly name: string;
  readonly trials: number;
  /** Mean over seeds of the share of a box that the measured points dominate; the box ends at the worst loss of any point of the seed. */
  readonly hypervolume: number;
  readonly surrogateError: number | undefined;
}

export function mapFronts(runs: readonly MapRun[]): MapFront[] {
  const shareOf = ({ seed, points }: MapRun): number => {
    const all = runs.filter((run) => run.seed === seed).flatMap((run) => run.points);
    const corner = (points[0] ?? []).map((_, i) => Math.max(...all.map((values) => values[i] ?? 0)));
    return hypervolume(points, corner) / corner.reduce((product, side) => product * side, 1);
  };
  return (Object.keys(MAPS) as MapMethod[]).map((method) => {
    const own = runs.filter((run) => run.method === method);
    const errors = own.flatMap(({ surrogateError }) => surrogateError ?? []);
    return {
      name: MAPS[method],
      trials: Math.round(meanOf(own.map(({ trials }) => trials))),
      hypervolume: meanOf(own.map(shareOf)),
      surrogateError: errors.length === 0 ? undefined : meanOf(errors),
    };
  });
}

/** Ways to a front of two tasks, by what the table calls them. */
export const TWO_TASK_FRONTS = ["interpolation of experts", "PaMaL", "PaLoRA"] as const;

export interface MeasuredFront {
  readonly name: string;
  readonly trained: string;
  readonly hypervolume: number;
  /** Least loss of each task along the front. */
  readonly ends: string;
}

/** Losses of the points of one front of two tasks on the validation data. */
export async function frontRun(bench: Bench, name: (typeof TWO_TASK_FRONTS)[number], threads: number): Promise<number[][]> {
  const tasks = FRONT_TASKS.map((task) => {
    const train = resolve(bench.folder, `${task}.train.jsonl`);
    writeFileSync(train, toJsonl(makeSplits(task, SPLITS).train));
    return { name: task, train, validation: zoo(`data/${task}.validation.jsonl`) };
  });
  const losses = ({ points }: FrontFile) => points.filter(({ evaluated }) => evaluated).map(({ values }) => values.map((value) => value ?? Number.NaN));
  if (name === "interpolation of experts") {
    const models = FRONT_TASKS.map((task) => ({ model: zoo(task), parameters: { weight: { search: [0, 1] } } }));
    const objectives = tasks.map((task) => ({ name: task.name, metric: "loss", data: task.validation, limit: TEST_QUESTIONS }));
    const between = { recipe: { merge_method: "linear", models }, objectives, method: "simplex", front: 11, baselines: false };
    const config = await readParetoConfig(writeConfig(bench, "interpolation", between));
    return losses((await runPareto(config, join(bench.folder, "interpolation"), { threads, overwrite: true })).front);
  }
  const method = name.toLowerCase();
  const config = { model: zoo("base"), method, tasks, ...FRONT_TRAINING, limit: TEST_QUESTIONS, front: 11 };
  const parsed = await readTrainFrontConfig(writeConfig(bench, method, config));
  return losses((await trainFront(parsed, resolve(bench.folder, method), { threads, overwrite: true })).front);
}

/** Fronts of two tasks in one box, which ends at the worst loss on any of them. */
export function measuredFronts(found: readonly (readonly (readonly number[])[])[]): MeasuredFront[] {
  const corner = FRONT_TASKS.map((_, i) => Math.max(...found.flat().map((values) => values[i] ?? 0)));
  const box = corner.reduce((product, side) => product * side, 1);
  return found.map((points, k) => ({
    name: TWO_TASK_FRONTS[k] ?? "",
    trained: k === 0 ? "the experts' own training" : `${FRONT_TRAINING.steps} steps`,
    hypervolume: hypervolume(points, corner) / box,
    ends: FRONT_TASKS.map((_, i) => Math.min(...points.map((values) => values[i] ?? Number.NaN)).toFixed(3)).join(", "),
  }));
}

export interface Unlearned extends Pick<UnlearnReport, "method" | "before" | "after" | "chosen" | "keeps" | "floor"> {
  /** Share of the numbers that differ from the model's before. */
  readonly changed: number;
}

/** Takes the first task out of the experts' average; two others are to be retained, the last is the control. */
export async function measureUnlearning(bench: Bench, threads: number): Promise<{ unlearned: Unlearned[]; orderings: Ordering[] }> {
  const [forget = "", ...others] = bench.tasks;
  const model = resolve(bench.folder, "average");
  const text = recipeText(bench.tasks, "linear", { model: { weight: 1 } });
  await mergeByRecipe({ text, file: "report.yml" }, model, { threads });
  const of = (tasks: readonly string[]) => ({
    train: tasks.map((task) => resolve(bench.foldFile(0, task))),
    validation: tasks.map((task) => resolve(bench.foldFile(1, task))),
    test: tasks.map((task) => zoo(`data/${task}.test.jsonl`)),
  });
  mkdirSync(join(bench.folder, "unlearn"), { recursive: true });
  const shared = { model, forget: of([forget]), retain: of(others.slice(0, -1)), control: of(others.slice(-1)), metric: "exact_match", floor: 0.9 };
  const ways = [
    { method: "negate", expert: zoo(forget), base: zoo("base"), strengths: [0.1, 0.2, 0.3, 0.4, 0.6] },
    { method: "ssd", strengths: [1, 2, 5, 10, 25] },
    { method: "slug" },
  ];
  const unlearned: Unlearned[] = [];
  for (const way of ways) {
    const out = join(bench.folder, "unlearn", way.method);
    const report = await unlearn(await readUnlearnConfig(writeConfig(bench, `unlearn-${way.method}`, { ...shared, ...way })), out, { threads });
    unlearned.push({ ...report, changed: await changedShare(model, join(out, "model")) });
  }
  const [negated, dampened] = unlearned as [Unlearned, Unlearned];
  const margin = 0.05;
  const control = ({ before, after }: Unlearned) => `${percent(before.control)} to ${percent(after.control)}`;
  const orderings = [
    {
      group: 9,
      claim: `negating a task vector lowers its task and the control by at most ${100 * margin} points`,
      holds: negated.after.forget < negated.before.forget && negated.before.control - negated.after.control <= margin,
      figures: `${percent(negated.before.forget)} to ${percent(negated.after.forget)}, control ${control(negated)}`,
    },
    {
      group: 9,
      claim: "SSD lowers the task too, and changes fewer parameters",
      holds: dampened.after.forget < dampened.before.forget && dampened.changed < negated.changed,
      figures: `${percent(dampened.before.forget)} to ${percent(dampened.after.forget)}, control ${control(dampened)}; changed ${percent(dampened.changed)} % and ${percent(negated.changed)} %`,
    },
  ];
  return { unlearned, orderings };
}

async function changedShare(before: string, after: string): Promise<number> {
  const [a, b] = await Promise.all([before, after].map(async (folder) => readTensors(await openCheckpoint(folder))));
  let [changed, all] = [0, 0];
  for (const [name, { data }] of a ?? []) {
    // Both are bf16.
    const words = (bytes: Uint8Array = new Uint8Array()) => new Uint16Array(bytes.slice().buffer);
    const [x, y] = [words(data), words(b?.get(name)?.data)];
    all += x.length;
    for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) changed++;
  }
  return changed / all;
}
