// What the report measures with: folds of the validation data, one for each seed, which choose; and the test data, which chose nothing.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readTaskVectors, type TaskVectors } from "../../../merge-core/adapt/task-vectors.ts";
import { builtinMetric, type Evaluator, openEvaluator, planRecipe, type Scores } from "../../../merge-core/evaluate/evaluators.ts";
import { unlabelledRows } from "../../../merge-core/evaluate/likelihood.ts";
import { narrowFromFloat32 } from "../../../merge-core/formats/dtype-codecs.ts";
import { findMethod } from "../../../merge-core/methods/registry.ts";
import { type Example, readExamples, type TokenRow } from "../../../merge-core/nn/data.ts";
import type { TensorData } from "../../../merge-core/nn/load.ts";
import { requireBackend } from "../../../merge-core/nn/storage.ts";
import { mergeTensors } from "../../../merge-core/run/merge-tensors.ts";
import type { Setting } from "./method-grid.ts";

export const ZOO = "media/zoo";
/** A small report, to see that the program works. */
export const QUICK = process.argv.includes("--quick");
export const SEEDS = QUICK ? [0] : [0, 1, 2];
/** Parts of the validation data; each seed has one of its own. */
export const FOLDS = 5;
/** Test questions of each task: an answer costs a generation, and the whole report a few minutes. */
export const TEST_QUESTIONS = QUICK ? 10 : 100;

export interface Bench {
  readonly tasks: readonly string[];
  readonly folder: string;
  readonly vectors: TaskVectors;
  /** Mean loss of a recipe's merge on the seed's part of the validation data, of all tasks or some. */
  validationLoss(text: string, seed: number, some?: readonly string[]): Promise<number>;
  /** Exact match of a recipe's merge on the test data, by task. */
  testRecipe(text: string, seed: number, some?: readonly string[]): Promise<Scores>;
  readonly test: Evaluator;
  readonly testData: readonly (readonly Example[])[];
  /** Prompts of the seed's fold, by task. */
  prompts(seed: number): readonly (readonly TokenRow[])[];
  foldFile(seed: number, task: string): string;
}

export async function openBench(folder: string, threads: number): Promise<Bench> {
  const { tasks: entries } = JSON.parse(readFileSync(join(ZOO, "zoo.json"), "utf8")) as { tasks: { name: string }[] };
  const tasks = entries.map(({ name }) => name);
  const foldFile = (seed: number, task: string) => join(folder, `fold${seed}`, `${task}.jsonl`);
  const folds = new Map<number, Example[][]>();
  for (let seed = 0; seed < FOLDS; seed++) {
    mkdirSync(join(folder, `fold${seed}`), { recursive: true });
    folds.set(seed, []);
    for (const task of tasks) {
      const own = (await readExamples(join(ZOO, "data", `${task}.validation.jsonl`))).filter((_, i) => i % FOLDS === seed);
      writeFileSync(foldFile(seed, task), own.map((example) => `${JSON.stringify(example)}\n`).join(""));
      folds.get(seed)?.push(own);
    }
  }
  const metrics = (metric: string, file: (task: string) => string, some: readonly string[]) =>
    some.map((task) => builtinMetric(metric, [file(task)], { name: task, limit: TEST_QUESTIONS }));
  const options = { threads, batchSize: 256 };
  const tester = remembered((some) =>
    openEvaluator(
      metrics("exact_match", (task) => join(ZOO, "data", `${task}.test.jsonl`), some),
      options,
    ),
  );
  const choosers = new Map(
    SEEDS.map((seed) => [
      seed,
      remembered((some) =>
        openEvaluator(
          metrics("loss", (task) => foldFile(seed, task), some),
          options,
        ),
      ),
    ]),
  );
  const test = await tester(tasks);
  const merged = rememberedMerges();
  const vectors = await readTaskVectors(recipeText(tasks, "task_arithmetic", { model: { weight: 1 } }), "report.yml");
  return {
    tasks,
    folder,
    vectors,
    foldFile,
    test,
    testData: await Promise.all(tasks.map(async (task) => (await readExamples(join(ZOO, "data", `${task}.test.jsonl`))).slice(0, TEST_QUESTIONS))),
    async validationLoss(text, seed, some = tasks) {
      const evaluator = await choosers.get(seed)?.(some);
      const scores = await evaluator?.tensors(join(ZOO, "base"), await merged(text, seed));
      return meanScore(scores ?? {});
    },
    testRecipe: async (text, seed, some = tasks) => (await tester(some)).tensors(join(ZOO, "base"), await merged(text, seed)),
    prompts: (seed) => (folds.get(seed) ?? []).map((examples) => unlabelledRows(vectors.base, examples)),
  };
}

/** An evaluator for each list of tasks, opened once. */
function remembered(open: (tasks: readonly string[]) => Promise<Evaluator>): (tasks: readonly string[]) => Promise<Evaluator> {
  const known = new Map<string, Promise<Evaluator>>();
  return (tasks) => {
    const evaluator = known.get(tasks.join()) ?? open(tasks);
    known.set(tasks.join(), evaluator);
    return evaluator;
  };
}

/** Methods that draw something. */
const RANDOM = /dare|della/;

/** Merges in memory, each made once: what is not random does not hang on the seed. */
function rememberedMerges(): (text: string, seed: number) => Promise<ReadonlyMap<string, TensorData>> {
  const known = new Map<string, Promise<ReadonlyMap<string, TensorData>>>();
  return (text, seed) => {
    const own = RANDOM.test(text) ? seed : 0;
    const key = `${own} ${text}`;
    const tensors =
      known.get(key) ?? planRecipe({ text, file: "report.yml" }, { seed: own }).then((plan) => mergeTensors(plan, { pool: requireBackend().pool }));
    known.set(key, tensors);
    return tensors;
  };
}

export const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
export const meanScore = (scores: Scores): number => meanOf(Object.values(scores));

/** A recipe over the zoo's experts. @param beside further keys of a model, such as its file of statistics */
export function recipeText(
  tasks: readonly string[],
  method: string,
  setting: Setting,
  beside: (task: string) => Readonly<Record<string, string>> = () => ({}),
): string {
  const known = findMethod(method);
  const recipe = {
    merge_method: method,
    ...(known?.base === "none" ? {} : { base_model: join(ZOO, "base") }),
    models: tasks.map((task) => ({ model: join(ZOO, task), ...beside(task), parameters: { ...setting.model } })),
    parameters: { ...setting.global },
    dtype: "bfloat16",
  };
  // JSON is YAML.
  return JSON.stringify(recipe);
}

/** Values by tensor as tensors that an evaluator takes. */
export function asTensors({ names, base }: TaskVectors, values: readonly Float32Array[]) {
  const entries = names.map((name, i) => {
    const data = narrowFromFloat32("F32", values[i] ?? new Float32Array());
    return [name, { dtype: "F32" as const, shape: base.decoder.weights.get(name)?.shape ?? [], data }] as const;
  });
  return new Map(entries);
}
