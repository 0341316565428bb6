// The configuration of `weightsmith unlearn`. Node only.
import { BUILTIN_METRICS } from "../evaluate/metric-spec.ts";
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
} from "../pareto/config-values.ts";

/** Data of one purpose: `train` gives gradients, `validation` chooses, `test` is reported. */
export interface UnlearnData {
  readonly train: readonly string[];
  readonly validation: readonly string[];
  readonly test: readonly string[];
}

export const UNLEARN_METHODS = ["negate", "ssd", "slug"] as const;
export type UnlearnMethod = (typeof UNLEARN_METHODS)[number];
const METRICS = ["exact_match", "loss", "multiple_choice"] as const;

export interface UnlearnConfig {
  readonly place: ConfigPlace;
  readonly text: string;
  readonly method: UnlearnMethod;
  readonly model: string;
  /** The model that is good at what is to be forgotten, for `negate`. */
  readonly expert: string | undefined;
  /** What the expert was trained from, for `negate`; default the model itself. */
  readonly base: string;
  readonly forget: UnlearnData;
  readonly retain: UnlearnData;
  readonly control: UnlearnData;
  readonly metric: (typeof METRICS)[number];
  readonly direction: "maximize" | "minimize";
  /** Share of the retain and control metrics that must be left. */
  readonly floor: number;
  /** Strengths that are tried: lambda of negate, alpha of ssd. */
  readonly strengths: readonly number[];
  /** Lambda of ssd. */
  readonly lambda: number;
  /** Forget metric at which a step of slug is large enough. */
  readonly target: number;
  /** Steps tried for each tensor, and tensors, of slug. */
  readonly tries: number;
  readonly layers: number;
  readonly limit: number | undefined;
}

const KEYS = [
  "method",
  "model",
  "expert",
  "base",
  "forget",
  "retain",
  "control",
  "metric",
  "floor",
  "strengths",
  "lambda",
  "target",
  "tries",
  "layers",
  "limit",
];
const STRENGTHS = {
  negate: Array.from({ length: 20 }, (_, i) => Number(((i + 1) * 0.05).toFixed(2))),
  ssd: [1, 2, 5, 10, 25, 50, 100, 200, 500, 1000],
  slug: [],
};

/** @throws WeightsmithError `file-missing`, `yaml-syntax`, `config-*` */
export async function readUnlearnConfig(file: string): Promise<UnlearnConfig> {
  const text = await readConfigText(file);
  const values = parseConfigValues(text, file, KEYS);
  const place = configPlace(file);
  const method = choiceIn(values, place, "method", "ssd", UNLEARN_METHODS);
  const metric = choiceIn(values, place, "metric", "exact_match", METRICS);
  const retain = readData(values, place, "retain");
  const expert = values.expert === undefined ? undefined : pathIn(values, place, "expert");
  if (method === "negate" && expert === undefined) throw configError(place, "expert", undefined, "the model whose change is taken away");
  const direction = BUILTIN_METRICS[metric] === "min" ? "minimize" : "maximize";
  return {
    place,
    text,
    method,
    model: pathIn(values, place, "model"),
    expert,
    base: pathIn(values, place, values.base === undefined ? "model" : "base"),
    forget: readData(values, place, "forget"),
    retain,
    control: values.control === undefined ? retain : readData(values, place, "control"),
    metric,
    direction,
    floor: numberIn(values, place, "floor", 0.95, 0, 1),
    strengths: readStrengths(values, place, STRENGTHS[method]),
    lambda: numberIn(values, place, "lambda", 1, 0, Number.MAX_VALUE),
    target: readTarget(values, place, method, direction),
    tries: countIn(values, place, "tries", 10, 1),
    layers: countIn(values, place, "layers", 4, 1),
    limit: values.limit === undefined ? undefined : countIn(values, place, "limit", 0, 1),
  };
}

/** One file for everything, or {train, validation, test}, of which a missing one is the one before. */
function readData(values: ConfigValues, place: ConfigPlace, key: string): UnlearnData {
  const files = (value: unknown): readonly string[] | undefined => {
    const list = typeof value === "string" ? [value] : value;
    return Array.isArray(list) && list.length > 0 && list.every((item): item is string => typeof item === "string") ? list.map(place.resolve) : undefined;
  };
  const all = files(values[key]);
  if (all !== undefined) return { train: all, validation: all, test: all };
  const map = asObject(values[key]);
  const unknown = Object.keys(map ?? {}).find((name) => !["train", "validation", "test"].includes(name));
  const train = files(map?.train);
  if (map === undefined || train === undefined || unknown !== undefined)
    throw configError(place, key, values[key], "a JSONL file, or {train: F, validation: F, test: F}");
  const validation = files(map.validation) ?? train;
  return { train, validation, test: files(map.test) ?? validation };
}

function pathIn(values: ConfigValues, place: ConfigPlace, key: string): string {
  const value = values[key];
  if (typeof value !== "string" || value === "") throw configError(place, key, value, "the folder of a model");
  return place.resolve(value);
}

function numberIn(values: ConfigValues, place: ConfigPlace, key: string, fallback: number, min: number, max: number): number {
  const value = values[key] ?? fallback;
  if (typeof value !== "number" || !(value >= min && value <= max)) throw configError(place, key, value, `a number from ${min} to ${max}`);
  return value;
}

function readStrengths(values: ConfigValues, place: ConfigPlace, fallback: readonly number[]): readonly number[] {
  const value = values.strengths ?? fallback;
  if (!Array.isArray(value) || !value.every((item): item is number => typeof item === "number" && item >= 0 && Number.isFinite(item)))
    throw configError(place, "strengths", value, "a list of numbers of at least 0");
  return value;
}

function readTarget(values: ConfigValues, place: ConfigPlace, method: UnlearnMethod, direction: string): number {
  if (method === "slug" && direction === "minimize" && values.target === undefined)
    throw configError(place, "target", undefined, "the loss on what is forgotten that is high enough");
  return numberIn(values, place, "target", 0, 0, Number.MAX_VALUE);
}
