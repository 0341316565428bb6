// What an adapter is, from its config and headers alone, and whether it fits a base. Node only.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { type Diagnostic, WeightsmithError } from "../diagnostics.ts";
import { elementCount } from "../formats/dtypes.ts";
import { adaptCheckpoint } from "./adapted-checkpoint.ts";
import { otherBase } from "./common-ground.ts";
import { loraScaleOf } from "./families/lora.ts";
import { ROWS } from "./families/trainable-tokens.ts";
import type { Settings } from "./family.ts";
import { checkRank, patternValue } from "./peft-config.ts";
import { type AdapterFile, moduleSettings, readAdapter } from "./read-adapter.ts";

export interface AdapterSummary {
  readonly path: string;
  readonly type: string;
  readonly family: string;
  readonly paper: string;
  readonly formula: string;
  readonly foldable: "exact" | "per-task" | "no";
  /** Settings of the whole adapter that bear on the weights. */
  readonly settings: Settings;
  /** Modules by rank, for families that have one. */
  readonly ranks: Readonly<Record<string, number>>;
  /** Each scale, where it comes from, and the modules it holds for. */
  readonly scales: readonly { readonly scale: number; readonly from: string; readonly modules: number }[];
  /** Last parts of module paths, with the number of modules of each. */
  readonly targets: Readonly<Record<string, number>>;
  readonly modules: readonly string[];
  /** Base tensors that it brings with it whole. */
  readonly replaced: readonly string[];
  readonly tensors: number;
  /** Elements of its floating-point tensors, frozen ones and what it replaces included. */
  readonly parameters: number;
  readonly bytes: number;
  readonly dtypes: readonly string[];
  /** The base that the config names. */
  readonly baseModel: string | undefined;
  readonly revision: string | undefined;
  readonly findings: readonly Diagnostic[];
  /** Whether it fits the base that was given. */
  readonly fits?: { readonly base: string; readonly ok: boolean };
}

/** @param base to check the adapter against @throws WeightsmithError `adapter-*` when the adapter itself is broken */
export async function describeAdapter(folder: string, base?: Checkpoint, options: { readonly signal?: AbortSignal } = {}): Promise<AdapterSummary> {
  const adapter = await readAdapter(folder, { ...options, besideFactors: true });
  const { family, config, modules, replacements } = adapter;
  const entries = [...[...modules.values()].flatMap((tensors) => Object.values(tensors)), ...Object.values(adapter.shared), ...replacements.values()];
  const findings: Diagnostic[] = [];
  const note = <T>(action: () => T): T | undefined => tryOr(action, findings);
  const fits = base === undefined ? undefined : await fitOf(base, adapter, options, findings);
  return {
    path: folder,
    type: family.type,
    family: family.title,
    paper: family.paper.url,
    formula: family.formula,
    foldable: family.foldable,
    settings: Object.fromEntries(family.settings.flatMap(({ name }) => (isScalar(config[name]) ? [[name, config[name]]] : []))) as Settings,
    ranks: tally([...modules].flatMap(([module]) => note(() => rankOf(adapter, module)) ?? [])),
    scales: scalesOf(adapter, note),
    targets: tally([...modules.keys()].map((module) => module.split(".").at(-1) ?? module)),
    modules: [...modules.keys()],
    replaced: [...replacements.keys()],
    tensors: entries.length,
    parameters: entries.reduce((sum, { dtype, shape }) => sum + (/^(I|U|BOOL)/.test(dtype) ? 0 : elementCount(shape)), 0),
    bytes: entries.reduce((sum, { byteLength }) => sum + byteLength, 0),
    dtypes: [...new Set(entries.map(({ dtype }) => dtype))].sort(),
    baseModel: textOf(config.base_model_name_or_path),
    revision: textOf(config.revision),
    findings: [...findings, ...unmatchedTargets(adapter), ...(base === undefined ? [] : otherBase(config, base.path, adapter.configFile))],
    ...(fits === undefined ? {} : { fits }),
  };
}

const isScalar = (value: unknown): boolean => ["number", "boolean", "string"].includes(typeof value);
const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

function tally(names: readonly (string | number)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** What is wrong becomes a finding, told once. */
function tryOr<T>(action: () => T, findings: Diagnostic[]): T | undefined {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof WeightsmithError)) throw error;
    for (const diagnostic of error.diagnostics)
      if (!findings.some(({ code, file }) => code === diagnostic.code && file === diagnostic.file)) findings.push(diagnostic);
    return undefined;
  }
}

/** Of the tensors, checked against what the config says. */
function rankOf(adapter: AdapterFile, module: string): number | undefined {
  const entries = adapter.modules.get(module) ?? {};
  const entry = entries.lora_A ?? entries.lora_embedding_A;
  if (adapter.family.type === "LORA" && entry !== undefined) {
    checkRank(adapter.config, module, entry.shape[0] ?? 0, adapter.configFile);
    return entry.shape[0];
  }
  if (ROWS in entries) return undefined;
  const { r } = moduleSettings(adapter, module);
  return typeof r === "number" ? r : undefined;
}

function scalesOf(adapter: AdapterFile, note: <T>(action: () => T) => T | undefined): AdapterSummary["scales"] {
  const groups = new Map<string, { scale: number; from: string; modules: number }>();
  for (const [module, entries] of adapter.modules) {
    if (ROWS in entries) continue;
    const found = note(() => scaleOf(adapter, module));
    if (found === undefined) continue;
    const key = `${found.scale} ${found.from}`;
    groups.set(key, { ...found, modules: (groups.get(key)?.modules ?? 0) + 1 });
  }
  return [...groups.values()];
}

/** What a module's product is multiplied by, and which keys of the config say so. */
function scaleOf(adapter: AdapterFile, module: string): { scale: number; from: string } | undefined {
  const { config, family, configFile } = adapter;
  const alpha = family.settings.find(({ pattern }) => pattern === "alpha_pattern")?.name;
  if (alpha === undefined) return undefined;
  const settings = moduleSettings(adapter, module);
  const origin = (key: string, pattern: "alpha_pattern" | "rank_pattern") => (patternValue(config[pattern], module, configFile) === undefined ? key : pattern);
  const root = settings.use_rslora === true;
  const from = `${origin(alpha, "alpha_pattern")} ${settings[alpha]} / ${root ? "sqrt(" : ""}${origin("r", "rank_pattern")} ${settings.r}${root ? ")" : ""}`;
  return { scale: loraScaleOf({ ...settings, lora_alpha: settings[alpha] ?? null }), from };
}

/** Targets of the config that no tensor of the adapter belongs to. */
function unmatchedTargets({ config, modules, replacements, file }: AdapterFile): Diagnostic[] {
  const targets = Array.isArray(config.target_modules) ? config.target_modules.map(String) : [];
  const names = [...modules.keys(), ...[...replacements.keys()].map((name) => name.replace(/\.[^.]+$/, ""))];
  const idle = targets.filter((target) => !names.some((name) => name === target || name.endsWith(`.${target}`)));
  if (idle.length === 0) return [];
  const message = "the config targets modules that the adapter has no tensors for";
  return [{ code: "adapter-target-idle", severity: "warning", message, file, found: idle.join(", ") }];
}

async function fitOf(
  base: Checkpoint,
  { folder }: AdapterFile,
  options: { readonly signal?: AbortSignal },
  findings: Diagnostic[],
): Promise<{ base: string; ok: boolean }> {
  try {
    await adaptCheckpoint(base, folder, { ...options, fitOnly: true });
    return { base: base.path, ok: true };
  } catch (error) {
    if (!(error instanceof WeightsmithError) || error.code === "cancelled") throw error;
    findings.push(...error.diagnostics);
    return { base: base.path, ok: false };
  }
}
