// What combining adapters will do, from their configs and headers alone: which modules, of which rank, made from which
// tensors, and everything that does not fit. Node only.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { type Diagnostic, inputError, type WeightsmithError } from "../diagnostics.ts";
import { changesBias, checkFoldable, checkShapes } from "./adapted-by-family.ts";
import { baseNames, missingError, shapeError } from "./base-tensors.ts";
import { type Combination, combinedRank, worksOnFactors } from "./combine.ts";
import { type CombinedTensor, differentBases, differentModules, planReplacements } from "./common-ground.ts";
import { trainableTokens } from "./families/trainable-tokens.ts";
import type { LayerShape, Settings } from "./family.ts";
import { layerOf } from "./layer-of.ts";
import { checkRank } from "./peft-config.ts";
import { type AdapterFile, type ModuleEntries, moduleSettings, sharedEntries } from "./read-adapter.ts";

/** A weight of the base; `turned` where it is stored as [in, out]. */
export interface BaseWeight {
  readonly entry: TensorEntry;
  readonly turned: boolean;
}

/** One adapter's part in a module. */
export interface ModuleSource {
  /** Position among the adapters. */
  readonly index: number;
  readonly settings: Settings;
  readonly entries: ModuleEntries;
  readonly rank: number;
  /** No product of low rank: what the adapter makes of the base's weight, less that; of zeros where it makes the same of all. */
  readonly dense?: { readonly weight?: BaseWeight };
}

export interface CombinedModule {
  readonly path: string;
  readonly layer: LayerShape;
  readonly embedding: boolean;
  /** Sides of a convolution's kernel; none otherwise. */
  readonly kernel: readonly number[];
  /** Of the result. */
  readonly rank: number;
  readonly sources: readonly ModuleSource[];
  /** The base's, where an adapter changes it. */
  readonly bias?: TensorEntry;
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
  noteBiases(modules, adapters, findings);
  const fanInFanOut = sameFlag(adapters, "fan_in_fan_out");
  return { adapters, modules, replacements, fanInFanOut, findings };
}

/** Whether the change is no product of low rank: then it is what the adapter makes of the untouched base, less the base. */
const isDense = (adapter: AdapterFile): boolean => adapter.family.factors === undefined || isVariant(adapter);

/** Variants of families of low rank that are none. */
const isVariant = ({ config }: AdapterFile): boolean => config.init_weights === "bat" || config.use_dora === true;

/** Whether it is another change for another base. */
const needsBase = (adapter: AdapterFile): boolean => adapter.family.needsBase || isVariant(adapter);

/** @throws WeightsmithError `adapter-family-unlike`, `adapter-not-foldable`, `adapter-base-needed` */
function checkDense(adapter: AdapterFile, method: Combination, base: Checkpoint | undefined): void {
  const { family, config, configFile, modules } = adapter;
  checkFoldable(adapter);
  const found = config.use_dora === true ? "use_dora true" : family.title;
  if (family.type === trainableTokens.type)
    throw inputError("adapter-family-unlike", "rows that take the place of others have no sum", {
      file: configFile,
      found,
      remedy: "fold them with weightsmith adapter fold",
    });
  if (modules.size === 0) throw inputError("adapter-family-unlike", `adapters of type ${family.type} change no matrices`, { file: configFile, found });
  if (worksOnFactors(method) || method === "cat")
    throw inputError("adapter-family-unlike", `${method} combines factors, and this adapter is no product of them`, {
      file: configFile,
      found,
      remedy: `use exact, svd or another of the svd methods${needsBase(adapter) ? ", with --base" : ""}`,
    });
  if (base === undefined && needsBase(adapter))
    throw inputError("adapter-base-needed", "the adapter is no product of low rank: its change is taken from the base", {
      file: configFile,
      found,
      remedy: `name the model it was made for with --base${family.neutral === undefined ? "" : `, or take the mean of ${family.title} as such with --method average`}`,
    });
}

function checkCombinable(adapter: AdapterFile, method: Combination, base: Checkpoint | undefined): void {
  const { family, configFile } = adapter;
  if (isDense(adapter)) checkDense(adapter, method, base);
  if (family.type !== "LORA" && worksOnFactors(method))
    throw inputError("adapter-family-unlike", `${method} combines factors of LoRA`, {
      file: configFile,
      found: family.type,
      expected: "LORA",
      remedy: "use the method exact",
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
  const kernel = kernelOf(first.entries);
  const sources = held.map(({ adapter, index, entries }) => {
    if (kernelOf(entries).join() !== kernel.join())
      throw shapeError({ name: path }, `a kernel [${kernelOf(entries).join(", ")}]`, `[${kernel.join(", ")}], as in the adapters before it`, adapter.file);
    checkShapes(adapter, path, layer, entries);
    if ("lora_embedding_A" in entries !== embedding)
      throw inputError("adapter-shape-mismatch", `${path} is an embedding in one adapter and a layer in another`, { file: adapter.file });
    const settings = moduleSettings(adapter, path);
    if (!isDense(adapter)) return { index, settings, entries, rank: rankOf(adapter, path, entries, settings) };
    return { index, settings, entries, rank: Math.min(layer.inFeatures, layer.outFeatures), dense: baseWeight(path, adapter, base) };
  });
  const ranks = sources.map((source) => source.rank);
  if (worksOnFactors(method) && new Set(ranks).size > 1)
    throw ranksError(
      path,
      method,
      held.map(({ adapter }) => adapter.folder),
      ranks,
    );
  const sides = [layer.inFeatures, layer.outFeatures] as const;
  return { path, layer, embedding, kernel, rank: combinedRank(method, ranks, wanted, sides), sources, ...changedBias(path, held, base) };
}

/** Sides of the kernel, by the factor that has them. */
const kernelOf = ({ lora_A }: ModuleEntries): readonly number[] => lora_A?.shape.slice(2) ?? [];

/** The weight that a change is taken from. */
function baseWeight(path: string, adapter: AdapterFile, base: Checkpoint | undefined): { readonly weight?: BaseWeight } {
  if (base === undefined || !needsBase(adapter)) return {};
  const entry = base.tensors.get(baseNames(base)(`${path}.weight`) ?? "");
  if (entry === undefined) throw missingError(base, [`${path}.weight`], adapter.file);
  return { weight: { entry, turned: adapter.config.fan_in_fan_out === true } };
}

/** The bias of the base that an adapter multiplies together with the weight. */
function changedBias(path: string, held: readonly { readonly adapter: AdapterFile; readonly entries: ModuleEntries }[], base: Checkpoint | undefined) {
  const bias = base?.tensors.get(baseNames(base)(`${path}.weight`)?.replace(/weight$/, "bias") ?? "");
  return bias !== undefined && held.some(({ adapter, entries }) => changesBias(adapter, entries)) ? { bias } : {};
}

/** @throws WeightsmithError `adapter-family-unlike` where another adapter brings a bias whole */
function noteBiases(modules: readonly CombinedModule[], adapters: readonly AdapterFile[], findings: Diagnostic[]): void {
  const changed = modules.filter(({ bias }) => bias !== undefined).map(({ path }) => `${path}.bias`);
  if (changed.length === 0) return;
  for (const name of changed) {
    const other = adapters.find(({ replacements }) => replacements.has(name));
    if (other !== undefined)
      throw inputError("adapter-family-unlike", `one adapter multiplies ${name}, another one brings it whole`, { file: other.file, found: name });
  }
  findings.push({
    code: "adapter-bias-whole",
    severity: "info",
    message: "adapters change biases: the result holds them whole, as PEFT's LoRA with bias: lora_only does, their changes added up by weight",
    found: `${changed.length} biases`,
    remedy: "programs that refuse biases in an adapter need the folded model",
    notes: changed.slice(0, 5),
  });
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
