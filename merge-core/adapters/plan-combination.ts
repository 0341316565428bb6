// What combining adapters will do, from their configs and headers alone: which modules, of which rank, made from which
// tensors, and everything that does not fit. Node only.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { type Diagnostic, inputError, nearestName, type WeightsmithError } from "../diagnostics.ts";
import { changesBias, checkFoldable, checkShapes } from "./adapted-by-family.ts";
import { baseNames, missingError, shapeError } from "./base-tensors.ts";
import { type Combination, combinedRank, worksOnFactors } from "./combine.ts";
import type { LayerShape, Settings } from "./family.ts";
import { layerOf } from "./layer-of.ts";
import { checkRank } from "./peft-config.ts";
import { type AdapterFile, type ModuleEntries, moduleSettings, sharedEntries } from "./read-adapter.ts";

/** One adapter's part in a module. */
export interface ModuleSource {
  /** Position among the adapters. */
  readonly index: number;
  readonly settings: Settings;
  readonly entries: ModuleEntries;
  readonly rank: number;
  /** Of the base, where the adapter is no product of low rank; `turned` where it is stored as [in, out]. */
  readonly weight?: { readonly entry: TensorEntry; readonly turned: boolean };
}

export interface CombinedModule {
  readonly path: string;
  readonly layer: LayerShape;
  readonly embedding: boolean;
  /** Of the result. */
  readonly rank: number;
  readonly sources: readonly ModuleSource[];
}

/** A tensor that adapters bring whole: copied from one, or the mean of several. */
export interface CombinedTensor {
  readonly name: string;
  readonly sources: readonly { readonly index: number; readonly entry: TensorEntry }[];
}

export interface CombinationPlan {
  readonly adapters: readonly AdapterFile[];
  readonly modules: readonly CombinedModule[];
  readonly replacements: readonly CombinedTensor[];
  readonly fanInFanOut: boolean;
  readonly findings: readonly Diagnostic[];
}

/** @throws WeightsmithError `adapter-*` */
export function planCombination(
  adapters: readonly AdapterFile[],
  { method, rank, base }: { readonly method: Combination; readonly rank?: number | undefined; readonly base?: Checkpoint | undefined },
): CombinationPlan {
  for (const adapter of adapters) checkCombinable(adapter, method, base);
  const findings = [...differentBases(adapters), ...differentModules(adapters)];
  const paths = [...new Set(adapters.flatMap(({ modules }) => [...modules.keys()]))].sort();
  const modules = paths.map((path) => planModule(path, adapters, method, rank, base));
  const replacements = planReplacements(adapters, findings);
  const fanInFanOut = sameFlag(adapters, "fan_in_fan_out");
  return { adapters, modules, replacements, fanInFanOut, findings };
}

/** Whether the change is no product of low rank: then it is what the adapter makes of the untouched base, less the base. */
const isDense = ({ family, config }: AdapterFile): boolean => family.factors === undefined || config.init_weights === "bat" || config.use_dora === true;

/** @throws WeightsmithError `adapter-family-unlike`, `adapter-not-foldable`, `adapter-base-needed` */
function checkDense(adapter: AdapterFile, method: Combination, base: Checkpoint | undefined): void {
  const { family, config, configFile, modules } = adapter;
  checkFoldable(adapter);
  const found = config.use_dora === true ? "use_dora true" : family.title;
  if (modules.size === 0) throw inputError("adapter-family-unlike", `adapters of type ${family.type} change no matrices`, { file: configFile, found });
  if (worksOnFactors(method) || method === "cat")
    throw inputError("adapter-family-unlike", `${method} combines factors, and this adapter is no product of them`, {
      file: configFile,
      found,
      remedy: "use exact, svd or another of the svd methods, with --base",
    });
  if (base === undefined)
    throw inputError("adapter-base-needed", "the adapter is no product of low rank: its change is taken from the base", {
      file: configFile,
      found,
      remedy: "name the model it was made for with --base",
    });
}

function checkCombinable(adapter: AdapterFile, method: Combination, base: Checkpoint | undefined): void {
  const { family, config, configFile } = adapter;
  if (isDense(adapter)) checkDense(adapter, method, base);
  if (family.type !== "LORA" && worksOnFactors(method))
    throw inputError("adapter-family-unlike", `${method} combines factors of LoRA`, {
      file: configFile,
      found: family.type,
      expected: "LORA",
      remedy: "use the method exact",
    });
  if (config.lora_bias === true)
    throw inputError("adapter-type-unsupported", "lora_bias is not supported", { file: configFile, found: "true", expected: "false" });
  const init = config.init_lora_weights;
  if (typeof init === "string" && /^(pissa|olora|corda|lora_ga|loftq)/.test(init))
    throw inputError("adapter-type-unsupported", "the adapter changed its base model when it was initialised", {
      file: configFile,
      found: `init_lora_weights ${init}`,
    });
}

function planModule(
  path: string,
  adapters: readonly AdapterFile[],
  method: Combination,
  wanted: number | undefined,
  base: Checkpoint | undefined,
): CombinedModule {
  const held = adapters.flatMap((adapter, index) => {
    const entries = adapter.modules.get(path);
    return entries === undefined ? [] : [{ adapter, index, entries: { ...sharedEntries(adapter, path), ...entries } }];
  });
  const layers = held.map(({ adapter, entries }) => ({ adapter, layer: ownLayer(adapter, path, entries) ?? baseLayer(path, adapter, base) }));
  const layer = layers.find((found) => found.layer !== undefined)?.layer;
  const [first] = held;
  if (first === undefined) throw new TypeError(`no adapter has ${path}`);
  if (layer === undefined)
    throw inputError("adapter-base-needed", `${first.adapter.family.type} adapters do not tell the sides of their layers`, {
      file: first.adapter.folder,
      remedy: "name the model they were made for with --base",
    });
  for (const { adapter, layer: other } of layers) if (other !== undefined) checkSides(path, adapter, other, layer);
  const embedding = "lora_embedding_A" in first.entries;
  const sources = held.map(({ adapter, index, entries }) => {
    checkShapes(adapter, path, layer, entries);
    if ("lora_embedding_A" in entries !== embedding)
      throw inputError("adapter-shape-mismatch", `${path} is an embedding in one adapter and a layer in another`, { file: adapter.file });
    const settings = moduleSettings(adapter, path);
    if (!isDense(adapter)) return { index, settings, entries, rank: rankOf(adapter, path, entries, settings) };
    return { index, settings, entries, rank: Math.min(layer.inFeatures, layer.outFeatures), weight: baseWeight(path, adapter, entries, base) };
  });
  const ranks = sources.map((source) => source.rank);
  if (worksOnFactors(method) && new Set(ranks).size > 1)
    throw ranksError(
      path,
      method,
      held.map(({ adapter }) => adapter.folder),
      ranks,
    );
  return { path, layer, embedding, rank: combinedRank(method, ranks, wanted, [layer.inFeatures, layer.outFeatures]), sources };
}

/** The weight that a change is taken from. @throws WeightsmithError `adapter-family-unlike` where the bias changes too, which no LoRA does */
function baseWeight(path: string, adapter: AdapterFile, entries: ModuleEntries, base: Checkpoint | undefined): ModuleSource["weight"] {
  if (base === undefined) throw new TypeError("a change without a base");
  const name = baseNames(base)(`${path}.weight`) ?? "";
  const entry = base.tensors.get(name);
  if (entry === undefined) throw missingError(base, [`${path}.weight`], adapter.file);
  if (base.tensors.has(name.replace(/weight$/, "bias")) && changesBias(adapter, entries))
    throw inputError("adapter-family-unlike", `the adapter changes the bias of ${path}, which no LoRA does`, {
      file: adapter.file,
      found: adapter.family.title,
    });
  return { entry, turned: adapter.config.fan_in_fan_out === true };
}

function ownLayer(adapter: AdapterFile, path: string, entries: ModuleEntries): LayerShape | undefined {
  const held = Object.fromEntries(Object.entries(entries).map(([name, { shape }]) => [name, shape]));
  const rank = adapter.family.type === "LORA" ? (held.lora_A ?? held.lora_embedding_A)?.[0] : undefined;
  if (rank !== undefined) checkRank(adapter.config, path, rank, adapter.configFile);
  return layerOf(adapter.family.type, held, moduleSettings(adapter, path));
}

function baseLayer(path: string, adapter: AdapterFile, base: Checkpoint | undefined): LayerShape | undefined {
  if (base === undefined) return undefined;
  const name = baseNames(base)(`${path}.weight`);
  const weight = name === undefined ? undefined : base.tensors.get(name);
  if (weight === undefined) throw missingError(base, [`${path}.weight`], adapter.file);
  const [rows = 0, columns = 0] = weight.shape;
  return adapter.config.fan_in_fan_out === true ? { inFeatures: rows, outFeatures: columns } : { inFeatures: columns, outFeatures: rows };
}

function checkSides(path: string, adapter: AdapterFile, own: LayerShape, other: LayerShape): void {
  if (own.inFeatures === other.inFeatures && own.outFeatures === other.outFeatures) return;
  const write = ({ inFeatures, outFeatures }: LayerShape) => `${outFeatures} outputs of ${inFeatures} inputs`;
  throw shapeError({ name: path }, write(own), `${write(other)}, as in the adapters before it`, adapter.file);
}

/** The rank that the factors of a module will have. */
function rankOf({ family }: AdapterFile, path: string, entries: ModuleEntries, settings: Settings): number {
  const first = (name: string) => entries[name]?.shape[0];
  const r = first("lora_A") ?? first("lora_embedding_A") ?? (typeof settings.r === "number" ? settings.r : undefined);
  if (r === undefined) throw new TypeError(`no rank for ${path}`);
  return family.type === "LOHA" ? r * r : r;
}

function ranksError(path: string, method: Combination, folders: readonly string[], ranks: readonly number[]): WeightsmithError {
  return inputError("adapter-rank-mismatch", `${method} needs adapters of one rank, and ${path} has several`, {
    found: ranks.map((r, i) => `${r} in ${folders[i]}`).join(", "),
    remedy: "use the method exact, cat or svd",
  });
}

function differentBases(adapters: readonly AdapterFile[]): Diagnostic[] {
  const named = adapters.flatMap(({ config, folder }) =>
    typeof config.base_model_name_or_path === "string" ? [{ base: config.base_model_name_or_path, folder }] : [],
  );
  const [first] = named;
  const other = named.find(({ base }) => base !== first?.base);
  if (first === undefined || other === undefined) return [];
  const message = "the adapters name different base models";
  const remedy = "changes to different models do not add up; ignore this only if both names mean the same weights";
  return [
    {
      code: "adapter-bases-differ",
      severity: "warning",
      message,
      file: other.folder,
      found: other.base,
      expected: `${first.base}, as in ${first.folder}`,
      remedy,
    },
  ];
}

/** Modules that only some adapters have, told once per adapter with the nearest name there is. */
function differentModules(adapters: readonly AdapterFile[]): Diagnostic[] {
  const all = [...new Set(adapters.flatMap(({ modules }) => [...modules.keys()]))];
  return adapters.flatMap(({ modules, file }): Diagnostic[] => {
    const missing = all.filter((path) => !modules.has(path));
    const [first] = missing;
    if (first === undefined) return [];
    const shared = all.length > missing.length && [...modules.keys()].some((path) => adapters.some((other) => other.file !== file && other.modules.has(path)));
    const near = nearestName(first, modules.keys());
    const notes = missing.length === 1 ? [] : [`${missing.length} such modules: ${missing.slice(0, 5).join(", ")}${missing.length > 5 ? ", ..." : ""}`];
    return [
      {
        code: "adapter-modules-differ",
        severity: shared ? "info" : "warning",
        message: shared ? "the adapter lacks modules that others change; it adds nothing there" : "the adapter changes no module that another one changes",
        file,
        found: `no ${first}`,
        ...(near === undefined ? {} : { remedy: `the nearest it has is ${near}` }),
        notes,
      },
    ];
  });
}

function planReplacements(adapters: readonly AdapterFile[], findings: Diagnostic[]): CombinedTensor[] {
  const byName = new Map<string, CombinedTensor["sources"][number][]>();
  for (const [index, { replacements }] of adapters.entries())
    for (const entry of replacements.values()) byName.set(entry.name, [...(byName.get(entry.name) ?? []), { index, entry }]);
  for (const [name, sources] of byName) {
    const [first, ...others] = sources;
    const odd = others.find(({ entry }) => entry.shape.join() !== first?.entry.shape.join());
    if (first !== undefined && odd !== undefined)
      throw shapeError(
        { name },
        `[${odd.entry.shape.join(", ")}]`,
        `[${first.entry.shape.join(", ")}], as in ${adapters[first.index]?.folder}`,
        adapters[odd.index]?.file ?? "",
      );
  }
  const averaged = [...byName].filter(([, sources]) => sources.length > 1).map(([name]) => name);
  if (byName.size > 0) findings.push(replacementNote([...byName.keys()], averaged));
  return [...byName].map(([name, sources]) => ({ name, sources })).sort((x, y) => (x.name < y.name ? -1 : 1));
}

function replacementNote(names: readonly string[], averaged: readonly string[]): Diagnostic {
  const message = "adapters bring whole tensors of the model; those of one adapter are taken as they are, those of several averaged by weight";
  return {
    code: "adapter-whole-tensors",
    severity: "warning",
    message,
    found: `${names.length}, ${averaged.length} of them averaged`,
    notes: names.slice(0, 5),
  };
}

function sameFlag(adapters: readonly AdapterFile[], key: string): boolean {
  const [first, ...others] = adapters.map((adapter) => ({ adapter, value: adapter.config[key] === true }));
  const odd = others.find(({ value }) => value !== first?.value);
  if (odd !== undefined)
    throw inputError("adapter-type-unsupported", `${key} differs between the adapters`, {
      file: odd.adapter.configFile,
      found: String(odd.value),
      expected: String(first?.value),
    });
  return first?.value === true;
}
