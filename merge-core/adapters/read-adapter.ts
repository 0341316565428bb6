// A PEFT adapter's folder, its tensors sorted by the modules they belong to. Headers only. Node only.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import type { AdapterFamily, FamilySetting, Settings, SettingValue } from "./family.ts";
import { CONFIG, checkAlpha, checkStart, patternValue, readAdapterConfig, TENSORS } from "./peft-config.ts";
import { families, findFamily } from "./registry.ts";
import { remedyForUnread } from "./unread-families.ts";

/** What PEFT wrote before safetensors. */
const OLD_TENSORS = "adapter_model.bin";
const PREFIX = "base_model.model.";
const SHARED_PREFIX = "base_model.";

/** Settings of any family that change which weights are meant. */
const UNSUPPORTED = ["target_parameters", "layer_replication", "alora_invocation_tokens", "exclude_layers"];
/** What only LoRA has, and only folding takes along. */
const BESIDE_FACTORS = ["lora_bias", "trainable_token_indices"];

/** By the last part of their name. */
export type ModuleEntries = Readonly<Record<string, TensorEntry>>;

export interface AdapterFile {
  /** The folder as the user gave it. */
  readonly folder: string;
  readonly configFile: string;
  /** The file of the tensors. */
  readonly file: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly family: AdapterFamily;
  /** By module path in the base, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly modules: ReadonlyMap<string, ModuleEntries>;
  /** Held once for all modules. */
  readonly shared: ModuleEntries;
  /** Tensors that take the place of the base's, by name. */
  readonly replacements: ReadonlyMap<string, TensorEntry>;
  readonly shards: Awaited<ReturnType<typeof openCheckpoint>>["shards"];
}

interface ReadOptions {
  readonly signal?: AbortSignal;
  /** Also what LoRA has beside its factors: biases of B, and rows of tokens. They can be folded and told of, and nothing else. */
  readonly besideFactors?: boolean;
}

/** @throws WeightsmithError `adapter-type-unsupported`, `adapter-without-tensors`, `adapter-tensor-unexpected`, `adapter-config-invalid`, `file-missing` */
export async function readAdapter(folder: string, options: ReadOptions = {}): Promise<AdapterFile> {
  const configFile = join(folder, CONFIG);
  const config = await readAdapterConfig(configFile);
  const family = familyOf(config, configFile);
  if (options.besideFactors !== true) refuseBesideFactors(family, config, configFile);
  const file = [TENSORS, OLD_TENSORS].map((name) => join(folder, name)).find(existsSync);
  if (file === undefined) throw inputError("adapter-without-tensors", "the adapter has no tensors", { file: folder, expected: `${TENSORS} or ${OLD_TENSORS}` });
  const { tensors, shards } = await openTensors(folder, file, family, options);
  const sorted = sortTensors(family, tensors, file);
  if (sorted.modules.size === 0 && sorted.replacements.size === 0)
    throw inputError("adapter-empty", "the adapter changes nothing", { file, found: `${tensors.length} tensors`, expected: expectedNames(family) });
  return { folder, configFile, file, config, family, shards, ...sorted };
}

/** Those of the second file too, where the family has one and it is there. */
async function openTensors(folder: string, file: string, { beside }: AdapterFamily, options: { readonly signal?: AbortSignal }) {
  const second = beside === undefined ? undefined : join(folder, beside.file);
  const opened = [await openCheckpoint(file, options)];
  if (second !== undefined && existsSync(second)) opened.push(await openCheckpoint(second, options));
  return { tensors: opened.flatMap(({ tensors }) => [...tensors.values()]), shards: opened.flatMap(({ shards }) => shards) };
}

function familyOf(config: Readonly<Record<string, unknown>>, file: string): AdapterFamily {
  const type = String(config.peft_type);
  const family = findFamily(type);
  const expected = families.map((known) => known.type);
  if (family === undefined)
    throw inputError("adapter-type-unsupported", "adapters of this type cannot be read", {
      file,
      found: `peft_type ${type}`,
      expected: expected.join(", "),
      ...remedyOf(type, expected),
    });
  for (const key of [...UNSUPPORTED, ...(family.type === "LORA" ? [] : ["trainable_token_indices"])]) {
    const value = config[key] ?? null;
    if (isSet(value))
      throw inputError("adapter-type-unsupported", `${key} is not supported`, { file, found: JSON.stringify(value).slice(0, 100), expected: "null" });
  }
  return family;
}

const isSet = (value: unknown): boolean => value !== null && value !== false && !(Array.isArray(value) && value.length === 0);

/** @throws WeightsmithError `adapter-type-unsupported` */
function refuseBesideFactors({ type }: AdapterFamily, config: Readonly<Record<string, unknown>>, file: string): void {
  if (type === "LORA") checkStart(config, false, file);
  const key = type === "LORA" ? BESIDE_FACTORS.find((name) => isSet(config[name] ?? null)) : undefined;
  if (key === undefined) return;
  throw inputError("adapter-type-unsupported", `${key} can only be folded`, {
    file,
    found: JSON.stringify(config[key]).slice(0, 100),
    expected: "a LoRA of factors alone",
    remedy: "fold it into its base with weightsmith adapter fold, and go on with the model",
  });
}

/** A type of PEFT has its own; a word that is none may be a slip. */
function remedyOf(type: string, known: readonly string[]): { remedy?: string } {
  const near = nearestName(type, known);
  const remedy = remedyForUnread(type) ?? (near === undefined ? undefined : `did you mean ${near}?`);
  return remedy === undefined ? {} : { remedy };
}

function sortTensors(family: AdapterFamily, entries: Iterable<TensorEntry>, file: string): Pick<AdapterFile, "modules" | "shared" | "replacements"> {
  const modules = new Map<string, Record<string, TensorEntry>>();
  const shared: Record<string, TensorEntry> = {};
  const replacements = new Map<string, TensorEntry>();
  const inModule = new RegExp(`^(.+)\\.(${family.tensors.map(({ name }) => name.replace(".", "\\.")).join("|")})(?:\\.default)?(?:\\.weight)?$`);
  for (const entry of entries) {
    const path = entry.name.startsWith(PREFIX) ? entry.name.slice(PREFIX.length) : undefined;
    const root = entry.name.startsWith(SHARED_PREFIX) ? entry.name.slice(SHARED_PREFIX.length) : undefined;
    const [, module, tensor] = (family.tensors.length > 0 && inModule.exec(path?.replace(".token_adapter.", ".") ?? "")) || [];
    if (module !== undefined && tensor !== undefined) modules.set(module, { ...modules.get(module), [tensor]: entry });
    else if (root !== undefined && family.shared.some(({ name }) => name === sharedName(family, root))) shared[root] = entry;
    else if (path === undefined || isForeign(path)) throw unexpectedError(family, entry, file);
    else replacements.set(replacedName(family, path), entry);
  }
  return { modules, shared, replacements };
}

/** Names of tensors that modules of one kind share end in the kind: `mos_A.q_proj`. */
export const sharedName = ({ sharedBy }: AdapterFamily, root: string): string => (sharedBy === "kind" ? root.replace(/\.[^.]+$/, "") : root);

/** What a module shares with others, by the names that its family has for it. */
export function sharedEntries({ family, shared }: Pick<AdapterFile, "family" | "shared">, module: string): ModuleEntries {
  const kind = module.split(".").at(-1);
  const own = Object.entries(shared).filter(([root]) => family.sharedBy !== "kind" || root.endsWith(`.${kind}`));
  return Object.fromEntries(own.map(([root, entry]) => [sharedName(family, root), entry]));
}

const KNOWN_NAMES = families.flatMap(({ tensors, shared }) => [...tensors, ...shared].map(({ name }) => name));
/** First parts of names that belong to adapters and not to models. */
const ADAPTER_PREFIXES = [...new Set(KNOWN_NAMES.map((name) => `${name.split("_")[0]}_`)), "token_adapter", "prompt_embeddings", "randlora_"];

/** A tensor of an adapter, not of a model: of another family, or of this one under a name that it does not have. */
const isForeign = (path: string): boolean => path.split(".").some((part) => ADAPTER_PREFIXES.some((prefix) => part.startsWith(prefix)) && part !== "lora_only");

/** `a.base_layer.bias`, `a.modules_to_save.weight` and the like are called `a.bias`, `a.weight` in the base. */
function replacedName({ replaces }: AdapterFamily, path: string): string {
  const infixes = ["base_layer", "modules_to_save(?:\\.default)?", ...(replaces === undefined ? [] : [replaces])];
  return path.replace(new RegExp(`\\.(${infixes.join("|")})(?=\\.[^.]+$)`), "");
}

function unexpectedError(family: AdapterFamily, { name, dtype, shape }: TensorEntry, file: string) {
  const parts = name.replace(/\.(weight|default)$/, "").split(".");
  const near = nearestName(
    parts.at(-1) ?? "",
    [...family.tensors, ...family.shared].map((tensor) => tensor.name),
  );
  return inputError("adapter-tensor-unexpected", `tensor ${name} is not one that an adapter of type ${family.type} has`, {
    file,
    found: `${dtype} [${shape.join(", ")}]`,
    expected: expectedNames(family),
    ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
  });
}

const expectedNames = (family: AdapterFamily): string => [...family.tensors, ...family.shared].map(({ name }) => name).join(", ") || "tensors of the base";

/** The settings of a module, patterns resolved, the family's defaults where the config is silent. @throws WeightsmithError `adapter-config-invalid` */
export function moduleSettings({ family, config, configFile }: Pick<AdapterFile, "family" | "config" | "configFile">, module: string): Settings {
  return Object.fromEntries(family.settings.map((setting) => [setting.name, settingOf(setting, config, module, configFile)]));
}

function settingOf(
  { name, default: fallback, pattern, list }: FamilySetting,
  config: Readonly<Record<string, unknown>>,
  module: string,
  file: string,
): SettingValue {
  const special = pattern === undefined ? undefined : patternValue(config[pattern], module, file);
  const value = special ?? config[name] ?? fallback;
  if (list === true && Array.isArray(value)) return value.join(",");
  if (pattern === "alpha_pattern" && special === undefined) checkAlpha(config, name, file);
  const scalar = value === null || typeof value === "string" || typeof value === "boolean" || typeof value === "number";
  if (scalar && (fallback === null || typeof value === typeof fallback) && (typeof value !== "number" || Number.isFinite(value))) return value;
  throw inputError("adapter-config-invalid", `${name} is not usable`, {
    file,
    found: JSON.stringify(value).slice(0, 100),
    expected: fallback === null ? "a single value" : `a ${typeof fallback}`,
  });
}
