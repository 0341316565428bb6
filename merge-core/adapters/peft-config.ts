// adapter_config.json as PEFT writes it, as far as LoRA goes. Node only.
import { readFile } from "node:fs/promises";
import { openError } from "../bytes/file-source.ts";
import { inputError } from "../diagnostics.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";

export const CONFIG = "adapter_config.json";
export const TENSORS = "adapter_model.safetensors";

/** Settings that change what the tensors mean; each must have the value beside it (or be absent), or the fold would be wrong. */
const REQUIRED_VALUES: Readonly<Record<string, unknown>> = {
  use_dora: false,
  lora_bias: false,
  bias: "none",
  fan_in_fan_out: false,
  modules_to_save: null,
  target_parameters: null,
  trainable_token_indices: null,
  layer_replication: null,
  alora_invocation_tokens: null,
  use_qalora: false,
};

/** Initialisations that change the base model, so that the factors alone do not tell the adapted weight. */
const BASE_CHANGING = /^(pissa|olora|corda|lora_ga|loftq)/;
/** Those of them whose change follows from the base alone. */
const BASE_TELLS = ["pissa", "olora"];

/**
 * @param folds whether the base is at hand, of which the change can be taken off again
 * @throws WeightsmithError `adapter-type-unsupported`
 */
export function checkStart({ init_lora_weights: init }: Readonly<Record<string, unknown>>, folds: boolean, file: string): void {
  if (typeof init !== "string" || !BASE_CHANGING.test(init) || (folds && BASE_TELLS.includes(init))) return;
  throw inputError("adapter-type-unsupported", "the adapter changed its base model when it was initialised", {
    file,
    found: `init_lora_weights ${init}`,
    remedy: `convert it to a plain LoRA with PEFT's path_initial_model_for_weight_conversion${BASE_TELLS.includes(init) ? ", or fold it with weightsmith adapter fold" : ""}`,
  });
}

/** adapter_config.json of any family. @throws WeightsmithError `file-missing`, `adapter-config-invalid`, `json-*` */
export async function readAdapterConfig(file: string): Promise<Readonly<Record<string, unknown>>> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw openError(file, error);
  });
  const config = parseJsonBytes(bytes, file, { maxBytes: 10_000_000, maxDepth: 64, nonFinite: true });
  if (isRecord(config)) return config;
  throw inputError("adapter-config-invalid", "not an object", { file });
}

/**
 * Reads and checks adapter_config.json of a LoRA. `also` names settings that the caller can deal with whatever their value.
 * @throws WeightsmithError `file-missing`, `adapter-config-invalid`, `adapter-type-unsupported`, `json-*`
 */
export async function readLoraConfig(file: string, also: readonly string[] = []): Promise<Readonly<Record<string, unknown>>> {
  const config = await readAdapterConfig(file);
  if (config.peft_type !== "LORA")
    throw inputError("adapter-type-unsupported", "not a LoRA adapter", { file, found: String(config.peft_type), expected: "LORA" });
  for (const [key, expected] of Object.entries(REQUIRED_VALUES)) {
    if (!also.includes(key) && (config[key] ?? expected) !== expected)
      throw inputError("adapter-type-unsupported", `${key} is not supported`, { file, found: JSON.stringify(config[key]), expected: JSON.stringify(expected) });
  }
  checkStart(config, also.includes("init_lora_weights"), file);
  return config;
}

/** A number of the config, or its default. */
export function numberOf(config: Readonly<Record<string, unknown>>, key: string, fallback: number, file: string): number {
  const value = config[key] ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0)
    throw inputError("adapter-config-invalid", `${key} is not usable`, { file, found: JSON.stringify(value), expected: "a number of at least 0" });
  return value;
}

/** A module's rank must be the one that the scale is made with. @throws WeightsmithError `adapter-rank-mismatch` */
export function checkRank(config: Readonly<Record<string, unknown>>, module: string, rank: number, file: string): void {
  const said = patternValue(config.rank_pattern, module, file) ?? config.r ?? rank;
  if (said === rank) return;
  throw inputError("adapter-rank-mismatch", `the tensors of ${module} have another rank than the config gives it`, {
    file,
    found: `rank ${rank}`,
    expected: JSON.stringify(said),
    remedy: "the config is of another adapter, or rank_pattern lacks this module",
  });
}

/** @throws WeightsmithError `adapter-alpha-missing`: without alpha the scale would be a guess. */
export function checkAlpha(config: Readonly<Record<string, unknown>>, key: string, file: string): void {
  if ((config[key] ?? undefined) !== undefined) return;
  throw inputError("adapter-alpha-missing", `the config has no ${key}, so the adapter's scale is not known`, {
    file,
    expected: key,
    remedy: `add it: PEFT takes "${key}": 8 where it is missing, other programs take the rank`,
  });
}

/** What B A is multiplied by, for a module and its rank: alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA (2312.03732). */
export function loraScale(config: Readonly<Record<string, unknown>>, file: string): (module: string, rank: number) => number {
  checkAlpha(config, "lora_alpha", file);
  const alpha = numberOf(config, "lora_alpha", 8, file);
  return (module, rank) => {
    const moduleAlpha = patternValue(config.alpha_pattern, module, file) ?? alpha;
    return config.use_rslora === true ? moduleAlpha / Math.sqrt(rank) : moduleAlpha / rank;
  };
}

/** The value of the first pattern that matches the end of a module path, as PEFT matches them. */
export function patternValue(patterns: unknown, module: string, file: string): number | undefined {
  if (!isRecord(patterns)) return undefined;
  const hit = Object.entries(patterns).find(([pattern]) => compile(pattern, file).test(module));
  return typeof hit?.[1] === "number" ? hit[1] : undefined;
}

/** Longer than any module path. */
const MAX_PATTERN = 1000;
/** A repeated group that itself repeats or chooses: matching may take time exponential in the name's length. */
const SLOW_PATTERN = /\([^()]*[+*|{][^()]*\)\s*[+*{]/;

/** Patterns come from a file of unknown origin: what is no regular expression, or might hang, is refused. */
function compile(pattern: string, file: string): RegExp {
  try {
    if (pattern.length <= MAX_PATTERN && !SLOW_PATTERN.test(pattern)) return new RegExp(`^(.*\\.)?(${pattern})$`);
  } catch {
    // Refused below.
  }
  throw inputError("adapter-config-invalid", "a pattern has a key that is not a plain regular expression", {
    file,
    found: pattern.slice(0, 100),
    expected: "a module name or a regular expression without repeated groups that repeat",
  });
}
