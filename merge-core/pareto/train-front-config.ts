// The configuration of `weightsmith train-front`. Node only.

import { BALANCES, type Balance } from "./balance.ts";
import {
  asObject,
  type ConfigPlace,
  type ConfigValues,
  choiceIn,
  configError,
  configPlace,
  countIn,
  parseConfigValues,
  readConfigText,
} from "./config-values.ts";

export const FRONT_TRAININGS = ["pamal", "palora"] as const;

export interface FrontTask {
  readonly name: string;
  readonly train: readonly string[];
  /** What the front is measured on. */
  readonly validation: readonly string[];
}

export interface TrainFrontConfig {
  readonly text: string;
  readonly file: string;
  readonly method: (typeof FRONT_TRAININGS)[number];
  readonly model: string;
  readonly tasks: readonly FrontTask[];
  readonly metric: "loss" | "exact_match";
  readonly steps: number;
  /** Sequences of each task in a step. */
  readonly batchSize: number;
  /** Preferences in a step. */
  readonly rays: number;
  readonly lr: number;
  readonly rank: number;
  readonly alpha: number;
  /** Strength that rays are pushed to the corners with, of palora. */
  readonly anneal: number;
  /** Concentration of the Dirichlet draws, of pamal. */
  readonly concentration: number;
  /** Weight of the penalty for losses that rise with their weight, of pamal. */
  readonly regularizer: number;
  /** What keeps one task from drowning the others. */
  readonly balance: Balance;
  /** Weight of the penalty for adapters that point the same way, of palora. */
  readonly cosine: number;
  /** Points of the front that are measured. */
  readonly front: number;
  readonly seed: number;
  readonly limit: number | undefined;
}

const KEYS = [
  ...["model", "method", "tasks", "metric", "steps", "batch_size", "rays", "lr", "rank", "alpha", "anneal", "concentration", "regularizer"],
  ...["balance", "cosine", "front", "seed", "limit"],
];

/** @throws WeightsmithError `file-missing`, `yaml-syntax`, `config-*` */
export async function readTrainFrontConfig(file: string): Promise<TrainFrontConfig> {
  const text = await readConfigText(file);
  const values = parseConfigValues(text, file, KEYS);
  const place = configPlace(file);
  if (typeof values.model !== "string") throw configError(place, "model", values.model, "the folder of the model to start from");
  const tasks = readTasks(values.tasks, place);
  const rank = countIn(values, place, "rank", 4, 1);
  return {
    text,
    file,
    method: choiceIn(values, place, "method", "palora", FRONT_TRAININGS),
    model: place.resolve(values.model),
    tasks,
    metric: choiceIn(values, place, "metric", "loss", ["loss", "exact_match"]),
    steps: countIn(values, place, "steps", undefined, 1),
    batchSize: countIn(values, place, "batch_size", 16, 1),
    rays: countIn(values, place, "rays", Math.max(4, tasks.length), tasks.length),
    lr: positiveIn(values, place, "lr", 1e-3, false),
    rank,
    alpha: positiveIn(values, place, "alpha", rank, false),
    anneal: positiveIn(values, place, "anneal", 5, true),
    concentration: positiveIn(values, place, "concentration", 1, false),
    regularizer: positiveIn(values, place, "regularizer", 0, true),
    balance: choiceIn(values, place, "balance", "none", BALANCES),
    cosine: positiveIn(values, place, "cosine", 0, true),
    front: countIn(values, place, "front", tasks.length === 2 ? 11 : 21, tasks.length),
    seed: countIn(values, place, "seed", 0, 0),
    limit: values.limit === undefined ? undefined : countIn(values, place, "limit", 0, 1),
  };
}

function readTasks(value: unknown, place: ConfigPlace): FrontTask[] {
  if (!Array.isArray(value) || value.length < 2) throw configError(place, "tasks", value, "a list of two or more {name, train, validation}");
  const tasks = value.map((item: unknown): FrontTask => {
    const { name, train, validation, ...rest } = asObject(item) ?? {};
    const files = (files_: unknown) => (typeof files_ === "string" ? [files_] : files_);
    const [trained, measured] = [files(train), files(validation)];
    const isList = (list: unknown): list is string[] => Array.isArray(list) && list.length > 0 && list.every((file) => typeof file === "string");
    // A name becomes the name of a folder.
    if (typeof name !== "string" || !/^[\w-]+$/.test(name) || !isList(trained) || !isList(measured) || Object.keys(rest).length > 0)
      throw configError(place, "tasks", item, "{name: letters and digits, train: F.jsonl, validation: F.jsonl}");
    return { name, train: trained.map(place.resolve), validation: measured.map(place.resolve) };
  });
  if (new Set(tasks.map(({ name }) => name)).size < tasks.length)
    throw configError(
      place,
      "tasks",
      tasks.map(({ name }) => name),
      "different names",
    );
  return tasks;
}

function positiveIn(values: ConfigValues, place: ConfigPlace, key: string, fallback: number, zero: boolean): number {
  const value = values[key] ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value) || !(value > 0 || (zero && value === 0)))
    throw configError(place, key, value, zero ? "a number of at least 0" : "a number above 0");
  return value;
}
