// The optimizer block of a training file.
import type { YamlMap } from "./yaml-map.ts";

/** Which rule makes a step of gradients, with what it alone knows. */
export type RuleSettings =
  | { readonly name: "lion" | "sgd" | "adamw_8bit" | "lora_pro_adamw" }
  | { readonly name: "galore"; readonly rank: number; readonly updateEvery: number; readonly scale: number }
  | { readonly name: "apollo"; readonly rank: number; readonly updateEvery: number; readonly scale: number; readonly scaleBy: "channel" | "tensor" }
  | { readonly name: "frugal"; readonly density: number; readonly updateEvery: number; readonly signRate: number }
  | { readonly name: "mezo"; readonly distance: number; readonly sparsity: number };

/** Parameters with a learning rate of their own. */
export interface RateGroup {
  /** A regular expression that is found in their names. */
  readonly match: string;
  /** Multiplies the run's learning rate. */
  readonly rate: number;
}

export interface OptimizerSettings {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  /** Default AdamW. */
  readonly rule?: RuleSettings;
  /** The first group that matches counts. */
  readonly groups?: readonly RateGroup[];
  /** Gradients of LoRA factors are changed as LoRA-Pro has it. */
  readonly loraPro?: boolean;
}

/** Keys of each optimiser beside lr, weight_decay, groups and lora_pro. */
const OWN_KEYS = {
  adamw: ["betas", "eps"],
  adamw_8bit: ["betas", "eps"],
  lora_pro_adamw: ["betas", "eps"],
  lion: ["betas"],
  sgd: [],
  galore: ["betas", "eps", "rank", "update_every", "scale"],
  apollo: ["betas", "eps", "rank", "update_every", "scale", "scale_by"],
  frugal: ["betas", "eps", "density", "update_every", "sign_rate"],
  mezo: ["distance"],
  sparse_mezo: ["distance", "sparsity"],
} as const satisfies Record<string, readonly string[]>;

type Name = keyof typeof OWN_KEYS;
const NAMES = Object.keys(OWN_KEYS) as Name[];

export function readOptimizer(map: YamlMap | undefined, defaults: OptimizerSettings): OptimizerSettings {
  if (map === undefined) return defaults;
  const name = map.choice("name", "adamw", NAMES);
  const isForward = name === "mezo" || name === "sparse_mezo";
  map.allow(["name", "lr", "weight_decay", "groups", ...(isForward || name === "lora_pro_adamw" ? [] : ["lora_pro"]), ...OWN_KEYS[name]]);
  const rule = readRule(map, name);
  const groups = map.children("groups").map(readGroup);
  return {
    lr: map.number("lr", defaults.lr, { min: 0, minOpen: true }),
    betas: readBetas(map, name === "lion" ? [0.9, 0.99] : defaults.betas),
    eps: map.number("eps", defaults.eps, { min: 0, minOpen: true }),
    weightDecay: map.number("weight_decay", isForward ? 0 : defaults.weightDecay, { min: 0 }),
    ...(rule === undefined ? {} : { rule }),
    ...(groups.length === 0 ? {} : { groups }),
    ...(map.has("lora_pro") && map.flag("lora_pro") ? { loraPro: true } : {}),
  };
}

function readBetas(map: YamlMap, fallback: readonly [number, number]): readonly [number, number] {
  const betas = map.has("betas") ? map.list("betas", "two numbers") : fallback;
  const [first, second] = betas;
  const fits = (beta: unknown): beta is number => typeof beta === "number" && beta >= 0 && beta < 1;
  if (betas.length !== 2 || !fits(first) || !fits(second)) throw map.refuse("betas", "two numbers of at least 0 and below 1");
  return [first, second];
}

/** With the defaults of the papers. */
function readRule(map: YamlMap, name: Name): RuleSettings | undefined {
  const positive = (key: string, fallback: number) => map.number(key, fallback, { min: 0, minOpen: true });
  const updateEvery = () => map.count("update_every", 200, 1);
  if (name === "adamw") return undefined;
  if (name === "galore") return { name, rank: map.count("rank", 128, 1), updateEvery: updateEvery(), scale: positive("scale", 0.25) };
  if (name === "apollo") {
    const scaleBy = map.choice("scale_by", "channel", ["channel", "tensor"]);
    return { name, rank: map.count("rank", 256, 1), updateEvery: updateEvery(), scale: positive("scale", 1), scaleBy };
  }
  if (name === "frugal") {
    const density = map.number("density", 0.25, { min: 0, max: 1, minOpen: true });
    return { name, density, updateEvery: updateEvery(), signRate: map.number("sign_rate", 1, { min: 0 }) };
  }
  if (name === "mezo") return { name, distance: positive("distance", 1e-3), sparsity: 0 };
  if (name === "sparse_mezo")
    return { name: "mezo", distance: positive("distance", 1e-3), sparsity: map.number("sparsity", 0.75, { min: 0, max: 0.99, minOpen: true }) };
  return { name };
}

function readGroup(group: YamlMap): RateGroup {
  group.allow(["match", "rate"]);
  const match = group.text("match");
  try {
    new RegExp(match);
  } catch {
    throw group.refuse("match", "a regular expression");
  }
  return { match, rate: group.number("rate", undefined, { min: 0 }) };
}
