// Searches, fronts and unlearning: what the commands pareto, evolve, train-front and unlearn find on the sample models.
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { openCheckpoint } from "../../../merge-core/checkpoints/open-checkpoint.ts";
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
import { type Bench, meanOf, recipeText, SEEDS, TEST_QUESTIONS, ZOO } from "./bench.ts";
import type { Ordering } from "./orderings.ts";
import type { Row } from "./rows.ts";

/** Settings that each search may measure; a coefficient for each model, from 0 to this. */
export const BUDGET = { samples: 24, front: 8, trials: 24, most: 0.8 } as const;
/** Of training a front: far less than the experts had. */
export const FRONT_TRAINING = { steps: 40, batch_size: 8, rays: 3, lr: 3e-3, rank: 4, regularizer: 1 } as const;
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

/** MAP and CMA-ES over one coefficient for each expert; the mean loss on the seed's fold chooses. */
export async function searchRows(bench: Bench, threads: number): Promise<{ rows: Row[]; orderings: Ordering[] }> {
  const mapped: { text: string; best: number; sampled: number }[] = [];
  const evolved: { text: string }[] = [];
  for (const seed of SEEDS) {
    const models = bench.tasks.map(zoo);
    const search = { search: [0, BUDGET.most] };
    const map = { base: zoo("base"), models, range: search.search, dtype: "bfloat16", objectives: lossesOf(bench, seed), seed, baselines: false };
    const config = await readParetoConfig(writeConfig(bench, `map${seed}`, { ...map, samples: BUDGET.samples, front: BUDGET.front }));
    const { front } = await runPareto(config, join(bench.folder, `map${seed}`), { threads });
    const measured = front.points.filter(({ evaluated }) => evaluated);
    const best = least(measured);
    const of = (kind: string) => Math.min(...measured.filter((point) => point.kind === kind).map(meanLoss));
    mapped.push({ text: config.recipe.textAt(best.coefficients ?? []), best: of("front"), sampled: of("sample") });
    const weighted = {
      merge_method: "task_arithmetic",
      base_model: zoo("base"),
      models: models.map((model) => ({ model, parameters: { weight: search } })),
      dtype: "bfloat16",
    };
    const file = writeConfig(bench, `evolve${seed}`, { recipe: weighted, objectives: lossesOf(bench, seed), trials: BUDGET.trials, seed });
    const { evolution } = await runEvolve(await readEvolveConfig(file), join(bench.folder, `evolve${seed}`), { threads });
    evolved.push({ text: evolution.recipe });
  }
  const rowOf = async (name: string, found: readonly { text: string }[]): Promise<Row> => {
    const perSeed = [];
    for (const [i, { text }] of found.entries()) perSeed.push(await bench.testRecipe(text, SEEDS[i] ?? 0));
    return { name, needs: "validation data", perSeed, chosen: [] };
  };
  const rows = [await rowOf("MAP, least mean loss", mapped), await rowOf("CMA-ES over coefficients", evolved)];
  const claim = "MAP's predicted front holds a point no worse than the best it sampled, on the search split";
  const figures = `mean losses ${mapped.map(({ best, sampled }) => `${best.toFixed(3)} and ${sampled.toFixed(3)}`).join("; ")}`;
  return { rows, orderings: [{ claim, holds: mapped.every(({ best, sampled }) => best <= sampled), figures }] };
}

export interface MeasuredFront {
  readonly name: string;
  readonly trained: string;
  readonly hypervolume: number;
  /** Least loss of each task along the front. */
  readonly ends: string;
}

/** Fronts of two tasks by interpolation between their experts, PaMaL and PaLoRA, in one box. */
export async function measureFronts(bench: Bench, threads: number): Promise<MeasuredFront[]> {
  const tasks = FRONT_TASKS.map((name) => {
    const train = resolve(bench.folder, `${name}.train.jsonl`);
    writeFileSync(train, toJsonl(makeSplits(name, SPLITS).train));
    return { name, train, validation: zoo(`data/${name}.validation.jsonl`) };
  });
  const models = FRONT_TASKS.map((name) => ({ model: zoo(name), parameters: { weight: { search: [0, 1] } } }));
  const objectives = tasks.map(({ name, validation }) => ({ name, metric: "loss", data: validation, limit: TEST_QUESTIONS }));
  const between = { recipe: { merge_method: "linear", models }, objectives, method: "simplex", front: 11, baselines: false };
  const interpolation = await runPareto(await readParetoConfig(writeConfig(bench, "interpolation", between)), join(bench.folder, "interpolation"), { threads });
  const fronts = [{ name: "interpolation of experts", trained: "the experts' own training", front: interpolation.front }];
  for (const method of ["pamal", "palora"]) {
    const config = { model: zoo("base"), method, tasks, ...FRONT_TRAINING, limit: TEST_QUESTIONS, front: 11 };
    const { front } = await trainFront(await readTrainFrontConfig(writeConfig(bench, method, config)), resolve(bench.folder, method), { threads });
    fronts.push({ name: method === "pamal" ? "PaMaL" : "PaLoRA", trained: `${FRONT_TRAINING.steps} steps`, front });
  }
  const points = ({ points: all }: FrontFile) => all.filter(({ evaluated }) => evaluated).map(({ values }) => values.map((value) => value ?? Number.NaN));
  const corner = FRONT_TASKS.map((_, i) => Math.max(...fronts.flatMap(({ front }) => points(front).map((values) => values[i] ?? 0))));
  const box = corner.reduce((product, side) => product * side, 1);
  return fronts.map(({ name, trained, front }) => ({
    name,
    trained,
    hypervolume: hypervolume(points(front), corner) / box,
    ends: FRONT_TASKS.map((_, i) => Math.min(...points(front).map((values) => values[i] ?? Number.NaN)).toFixed(3)).join(", "),
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
      claim: `negating a task vector lowers its task and the control by at most ${100 * margin} points`,
      holds: negated.after.forget < negated.before.forget && negated.before.control - negated.after.control <= margin,
      figures: `${percent(negated.before.forget)} to ${percent(negated.after.forget)}, control ${control(negated)}`,
    },
    {
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
