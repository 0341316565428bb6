// What a training run is to do, and reading it from YAML. Node only.
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { FamilySetting, Settings, SettingValue } from "../adapters/family.ts";
import { families } from "../adapters/registry.ts";
import { openError } from "../bytes/file-source.ts";
import { nearestName } from "../diagnostics.ts";
import { GPT2_NORMS, GPT2_PROJECTIONS } from "../nn/gpt2.ts";
import { NORMS, PROJECTIONS } from "../nn/llama.ts";
import { type OptimizerSettings, readOptimizer } from "./optimizer-config.ts";
import { YamlMap } from "./yaml-map.ts";

export interface LoraSettings {
  readonly r: number;
  readonly alpha: number;
  /** Probability that an input of the low-rank branch is zeroed during training. */
  readonly dropout: number;
  readonly targetModules: readonly string[];
}

/** An adapter of any family that can be trained. */
export interface AdapterSettings {
  /** Its type in the registry. */
  readonly family: string;
  /** Kinds of modules. */
  readonly targetModules: readonly string[];
  readonly dropout: number;
  /** An adapter of the same family and shapes that training goes on from. */
  readonly from?: string;
  /** Numbers of the layers to train in. Default: all. */
  readonly layers?: readonly number[];
  /** An adapter of other layers that is there while this one is trained, and stays as it is. */
  readonly beside?: string;
  /** Every setting of the family and of its training. */
  readonly settings: Settings;
}

export interface ScheduleSettings {
  readonly warmupSteps: number;
  /** Last learning rate as a fraction of the highest. */
  readonly floor: number;
}

export interface EarlyStopping {
  /** Measurements in a row without a new lowest loss. */
  readonly patience: number;
  /** A loss must be so much lower to count as lower. */
  readonly minDelta: number;
}

/** Files of data that can be taken out again (S3T). */
export interface SliceSettings {
  /** Layers that each slice trains: the first slice the last layers of the model, later ones those below. */
  readonly layers: number;
  /** Orders of the slices that are trained, each one place on: with as many as there are slices, every one comes last once. */
  readonly orders: number;
}

export interface TrainConfig {
  /** Folder of the model to start from. */
  readonly model: string;
  /** `random` takes only the architecture and the tokenizer from the folder. */
  readonly init: "pretrained" | "random";
  /** JSONL files. */
  readonly data: { readonly train: readonly string[]; readonly validation: readonly string[] };
  /** All weights, or low-rank factors beside frozen weights. */
  readonly method: { readonly kind: "full" } | ({ readonly kind: "lora" } & LoraSettings) | ({ readonly kind: "adapter" } & AdapterSettings);
  /** Each file of the training data is a slice. */
  readonly slices?: SliceSettings;
  readonly optimizer: OptimizerSettings;
  readonly schedule: ScheduleSettings;
  readonly length: { readonly epochs: number } | { readonly steps: number };
  /** Sequences computed together. */
  readonly batchSize: number;
  /** Batches whose gradients make up one step. */
  readonly gradientAccumulation: number;
  /** Gradients are scaled down to this global norm; 0 leaves them. */
  readonly maxGradNorm: number;
  readonly seed: number;
  /** Steps between saved states a killed run resumes from; 0 saves none. */
  readonly saveEvery: number;
  /** Steps between measurements of the validation loss; 0 measures at the end only. */
  readonly evalEvery: number;
  /** Stops where the validation loss no longer falls, and keeps the weights with which it was lowest. */
  readonly earlyStopping?: EarlyStopping;
  /** Blocks are computed once more on the way back, so that only their inputs are held: less memory for a third more time, the same gradients. */
  readonly gradientCheckpointing?: boolean;
  /** Of the saved weights. Training itself is in float32. */
  readonly dtype: "F32" | "BF16" | "F16";
  /** Beside an adapter, the base's matrices stay in the 16 bits that they are stored in, unless they are to be held as float32: the same numbers, and losses. */
  readonly baseDtype?: "float32";
  /** Tokens of one sequence; 0 means the model's own limit, but at most 2048. */
  readonly maxLength: number;
}

export const TRAIN_DEFAULTS: Omit<TrainConfig, "model" | "data"> = {
  init: "pretrained",
  method: { kind: "full" },
  optimizer: { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
  schedule: { warmupSteps: 0, floor: 0 },
  length: { epochs: 1 },
  batchSize: 16,
  gradientAccumulation: 1,
  maxGradNorm: 1,
  seed: 0,
  saveEvery: 0,
  evalEvery: 0,
  dtype: "BF16",
  maxLength: 0,
};

const KEYS = ["model", "init", "data", "method", "lora", "adapter", "optimizer", "schedule", "epochs", "steps", "batch_size", "gradient_accumulation"];
const MORE_KEYS = [
  "max_grad_norm",
  "seed",
  "save_every",
  "eval_every",
  "dtype",
  "max_length",
  "early_stopping",
  "gradient_checkpointing",
  "base_dtype",
  "slices",
];
const DTYPES = { float32: "F32", bfloat16: "BF16", float16: "F16" } as const;

/** Reads a training file; paths in it are relative to it. @throws WeightsmithError, every diagnostic with its place */
export async function readTrainConfig(file: string): Promise<TrainConfig> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw openError(file, error);
  });
  return parseTrainConfig(text, file);
}

/** @throws WeightsmithError `yaml-syntax`, `config-not-a-map`, `config-unknown-key`, `config-invalid-value` */
export function parseTrainConfig(text: string, file: string): TrainConfig {
  const map = YamlMap.parse(text, file).allow([...KEYS, ...MORE_KEYS]);
  const defaults = TRAIN_DEFAULTS;
  const place = (path: string) => resolve(dirname(file), path);
  const earlyStopping = readEarlyStopping(map);
  const slices = readSlices(map);
  return {
    model: place(map.text("model")),
    init: map.choice("init", defaults.init, ["pretrained", "random"]),
    data: readData(map, place),
    method: readMethod(map, place),
    optimizer: readOptimizer(map.child("optimizer"), defaults.optimizer),
    schedule: readSchedule(map.child("schedule")),
    length: readLength(map),
    batchSize: map.count("batch_size", defaults.batchSize, 1),
    gradientAccumulation: map.count("gradient_accumulation", defaults.gradientAccumulation, 1),
    maxGradNorm: map.number("max_grad_norm", defaults.maxGradNorm, { min: 0 }),
    seed: map.count("seed", defaults.seed, 0),
    saveEvery: map.count("save_every", defaults.saveEvery, 0),
    evalEvery: map.count("eval_every", defaults.evalEvery, 0),
    dtype: DTYPES[map.choice("dtype", "bfloat16", ["float32", "bfloat16", "float16"])],
    ...(slices === undefined ? {} : { slices }),
    ...(earlyStopping === undefined ? {} : { earlyStopping }),
    ...(readBaseDtype(map) === "float32" ? { baseDtype: "float32" } : {}),
    ...(map.has("gradient_checkpointing") && map.flag("gradient_checkpointing") ? { gradientCheckpointing: true } : {}),
    maxLength: map.has("max_length") ? map.count("max_length", undefined, 2) : defaults.maxLength,
  };
}

function readData(map: YamlMap, place: (path: string) => string): TrainConfig["data"] {
  const data = map.child("data")?.allow(["train", "validation"]);
  if (data === undefined) throw map.refuse("data", "a mapping with train and, if you like, validation");
  const files = (key: string) =>
    data.list(key, "a JSONL file or a list of them").map((path) => {
      if (typeof path !== "string") throw data.refuse(key, "paths of JSONL files");
      return place(path);
    });
  return { train: files("train"), validation: data.has("validation") ? files("validation") : [] };
}

function readBaseDtype(map: YamlMap): "auto" | "float32" {
  if (map.has("base_dtype") && map.choice("method", "full", ["full", "lora", "adapter"]) === "full")
    throw map.refuse("base_dtype", "method: lora or adapter beside it, for otherwise the base's weights are what is trained");
  return map.choice("base_dtype", "auto", ["auto", "float32"]);
}

function readMethod(map: YamlMap, place: (path: string) => string): TrainConfig["method"] {
  const kind = map.choice("method", "full", ["full", "lora", "adapter"]);
  for (const block of ["lora", "adapter"]) if (block !== kind && map.has(block)) throw map.refuse(block, `method: ${block} beside it, or no ${block} block`);
  if (kind === "full") return { kind };
  const block = map.child(kind);
  if (block === undefined) throw map.refuse(kind, kind === "lora" ? "a mapping with r, alpha and target_modules" : "a mapping with family and target_modules");
  return kind === "lora" ? { kind, ...readLora(block) } : { kind, ...readAdapterSettings(block, place) };
}

function readLora(lora: YamlMap): LoraSettings {
  lora.allow(["r", "alpha", "dropout", "target_modules"]);
  const r = lora.count("r", undefined, 1);
  const targetModules = readTargets(lora, LAYERS);
  return { r, alpha: lora.number("alpha", r, { min: 0, minOpen: true }), dropout: readDropout(lora), targetModules };
}

function readAdapterSettings(block: YamlMap, place: (path: string) => string): AdapterSettings {
  const trainable = families.filter(({ training }) => training !== undefined);
  const names = trainable.map(({ type }) => type.replace(NATIVE, "").toLowerCase());
  const name = block.has("family") ? block.text("family").replace(NATIVE, "").toLowerCase() : "";
  const family = trainable[names.indexOf(name)];
  if (family === undefined) throw block.refuse("family", names.join(", "), didYouMean(name, names));
  const all = [...family.settings, ...(family.training?.settings ?? [])];
  block.allow(["family", "target_modules", "layers", "dropout", "from", ...all.map((setting) => setting.name)]);
  const norms = family.replaces === undefined ? [] : [...NORMS, ...GPT2_NORMS];
  const targetModules = readTargets(block, family.math === undefined ? norms : [...LAYERS, ...norms]);
  const settings = Object.fromEntries(all.map((setting) => [setting.name, readSetting(block, setting)]));
  const from = block.has("from") ? { from: place(block.text("from")) } : {};
  return { family: family.type, targetModules, ...readLayers(block), dropout: readDropout(block), ...from, settings };
}

function readLayers(block: YamlMap): { readonly layers?: readonly number[] } {
  if (!block.has("layers")) return {};
  const expected = "numbers of layers from 0";
  const layers = block.list("layers", expected).filter((layer) => typeof layer === "number" && Number.isSafeInteger(layer) && layer >= 0) as number[];
  if (layers.length !== block.list("layers", expected).length) throw block.refuse("layers", expected);
  return { layers: [...new Set(layers)].sort((a, b) => a - b) };
}

/** What families of our own have in front of their names in files. */
const NATIVE = /^x-weightsmith-/;

function readSetting(block: YamlMap, { name, default: fallback }: FamilySetting): SettingValue {
  if (!block.has(name)) return fallback;
  if (typeof fallback === "number") return block.number(name, undefined, { min: Number.NEGATIVE_INFINITY });
  return typeof fallback === "boolean" ? block.flag(name) : block.text(name);
}

const readDropout = (block: YamlMap): number => block.number("dropout", 0, { min: 0, max: 0.99 });

/** Of all architectures; which of them a model has is checked when it is read. */
const LAYERS = [...PROJECTIONS, ...GPT2_PROJECTIONS];

function readTargets(block: YamlMap, known: readonly string[]): string[] {
  const expected = `names out of ${known.join(", ")}`;
  return block.list("target_modules", expected).map((name) => {
    const target = known.find((one) => one === name);
    if (target === undefined) throw block.refuse("target_modules", expected, didYouMean(String(name), known));
    return target;
  });
}

function didYouMean(name: string, known: readonly string[]): string | undefined {
  const near = nearestName(name, known);
  return near === undefined ? undefined : `did you mean ${near}?`;
}

function readSchedule(map: YamlMap | undefined): ScheduleSettings {
  const defaults = TRAIN_DEFAULTS.schedule;
  map?.allow(["warmup_steps", "floor"]);
  return {
    warmupSteps: map?.count("warmup_steps", defaults.warmupSteps, 0) ?? defaults.warmupSteps,
    floor: map?.number("floor", defaults.floor, { min: 0, max: 1 }) ?? defaults.floor,
  };
}

function readSlices(map: YamlMap): SliceSettings | undefined {
  const block = map.child("slices")?.allow(["layers", "orders"]);
  if (block === undefined) return undefined;
  if (!map.has("method") || map.text("method") === "full") throw map.refuse("slices", "method: lora or method: adapter beside it");
  return { layers: block.count("layers", 1, 1), orders: block.count("orders", 1, 1) };
}

function readEarlyStopping(map: YamlMap): EarlyStopping | undefined {
  const block = map.child("early_stopping")?.allow(["patience", "min_delta"]);
  if (block === undefined) return undefined;
  if (!map.has("eval_every") || map.child("data")?.has("validation") !== true) throw map.refuse("early_stopping", "data.validation and eval_every beside it");
  return { patience: block.count("patience", 3, 1), minDelta: block.number("min_delta", 0, { min: 0 }) };
}

function readLength(map: YamlMap): TrainConfig["length"] {
  if (map.has("steps") && map.has("epochs")) throw map.refuse("epochs", "either steps or epochs, not both");
  if (map.has("steps")) return { steps: map.count("steps", undefined, 1) };
  return { epochs: map.number("epochs", 1, { min: 0, minOpen: true }) };
}
