// Writes an adapter of any family that is a low-rank product as a plain LoRA: pools layer by layer, one task or preference of
// those that have several, and mixtures with their experts merged. Node only.
import { checkShapes } from "../adapters/adapted-by-family.ts";
import { type Array64, float64 } from "../adapters/algebra/float64.ts";
import { baseNames, missingError } from "../adapters/base-tensors.ts";
import { partOfModule } from "../adapters/define-family.ts";
import type { AdapterModule, LayerShape, LowRank, ModuleTensor } from "../adapters/family.ts";
import { hasFactors, type Part } from "../adapters/family-math.ts";
import { layerOf } from "../adapters/layer-of.ts";
import { type AdapterFile, moduleSettings, readAdapter, sharedEntries } from "../adapters/read-adapter.ts";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { type Diagnostic, inputError, throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, type FloatDType, isFloat } from "../formats/dtypes.ts";
import { type WriteTensor, writeAdapterFolder } from "./adapter-output.ts";
import { loraConfig } from "./lora-config.ts";

export interface ExpandRequest {
  readonly adapter: string;
  readonly out: string;
  /** For families of which the files do not tell the sides of layers, or whose change follows from the base's weights. */
  readonly base?: Checkpoint | undefined;
  /** A task, a preference or a way to merge experts, as the family has it. */
  readonly choice?: string | undefined;
  readonly dtype?: FloatDType;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, total: number, module: string) => void;
}

export interface ExpandResult {
  readonly out: string;
  readonly family: string;
  readonly modules: readonly { readonly path: string; readonly rank: number }[];
  readonly parameters: number;
  readonly warnings: readonly Diagnostic[];
}

/** @throws WeightsmithError `adapter-*`, `output-*` */
export async function expandAdapter(request: ExpandRequest): Promise<ExpandResult> {
  const { out, signal, dtype = "F32" } = request;
  const adapter = await readAdapter(request.adapter, signal === undefined ? {} : { signal });
  checkExpandable(adapter, request.choice);
  const reader = new TensorReader();
  const modules: { path: string; rank: number }[] = [];
  let parameters = 0;
  try {
    const inputs = [adapter.file];
    // What is wrong with one module is wrong with all of them: told before anything is written.
    for (const [path, entries] of [...adapter.modules].slice(0, 1))
      await factorsOf(adapter, path, { ...sharedEntries(adapter, path), ...entries }, request, reader);
    const warnings = await writeAdapterFolder(
      { out, overwrite: request.overwrite ?? false, inputs, maxBytes: mostBytes(adapter, request), signal },
      async (write) => {
        for (const [path, entries] of adapter.modules) {
          throwIfCancelled(signal);
          request.onProgress?.(modules.length, adapter.modules.size, path);
          const factors = await factorsOf(adapter, path, { ...sharedEntries(adapter, path), ...entries }, request, reader);
          await writeFactors(write, path, factors, dtype);
          modules.push({ path, rank: factors.r });
          parameters += factors.a.length + factors.b.length;
        }
        for (const [name, entry] of adapter.replacements)
          if (isFloat(entry.dtype)) await write({ name: `base_model.model.${name}`, dtype: entry.dtype, shape: entry.shape }, await reader.read(entry));
        return {
          config: configOf(adapter, modules),
          about: aboutOf(adapter, request),
          report: { command: "adapter expand", adapter: request.adapter, choice: request.choice ?? null, modules },
        };
      },
    );
    return { out, family: adapter.family.type, modules, parameters, warnings };
  } finally {
    await reader.close();
  }
}

function checkExpandable({ family, config, configFile, modules }: AdapterFile, choice: string | undefined): void {
  const settings = moduleSettings({ family, config, configFile }, modules.keys().next().value ?? "");
  const always = family.foldable === "exact" && (family.math?.lowRank === undefined ? family.factors !== undefined : hasFactors(family.math, settings));
  if (always && choice !== undefined)
    throw inputError("adapter-choice-invalid", `adapters of type ${family.type} leave nothing to choose`, {
      file: configFile,
      found: choice,
      remedy: "leave --choice out",
    });
  if (always || (family.math?.chosen !== undefined && choice !== undefined)) return;
  if (family.math?.chosen !== undefined)
    throw inputError("adapter-choice-missing", `an adapter of type ${family.type} is many LoRAs`, {
      file: configFile,
      expected: "--choice: a task, a preference such as 0.3,0.7, or uniform",
    });
  throw inputError("adapter-not-low-rank", `adapters of type ${family.type} are no low-rank products`, {
    file: configFile,
    found: family.formula,
    remedy: "fold it into the base with weightsmith adapter fold, and take a LoRA out again with weightsmith adapter extract",
  });
}

/** The sides of a layer by the base, or by the adapter's own tensors. */
function sidesOf(adapter: AdapterFile, path: string, entries: Readonly<Record<string, TensorEntry>>, weight: TensorEntry | undefined): LayerShape {
  if (weight !== undefined) {
    const [rows = 0, columns = 0] = weight.shape;
    return adapter.config.fan_in_fan_out === true ? { inFeatures: rows, outFeatures: columns } : { inFeatures: columns, outFeatures: rows };
  }
  const held = Object.fromEntries(Object.entries(entries).map(([name, { shape }]) => [name, shape]));
  const layer = layerOf(adapter.family.type, held, moduleSettings(adapter, path));
  if (layer === undefined || adapter.family.needsBase)
    throw inputError("adapter-base-needed", `${adapter.family.type} adapters do not tell all of what they do`, {
      file: adapter.folder,
      remedy: "name the model they were made for with --base",
    });
  return layer;
}

async function factorsOf(
  adapter: AdapterFile,
  path: string,
  entries: Readonly<Record<string, TensorEntry>>,
  { base, choice }: ExpandRequest,
  reader: TensorReader,
): Promise<LowRank> {
  const { family } = adapter;
  const target = base === undefined ? undefined : baseNames(base)(`${path}.weight`);
  const weight = target === undefined ? undefined : base?.tensors.get(target);
  if (base !== undefined && weight === undefined) throw missingError(base, [`${path}.weight`], adapter.file);
  const layer = sidesOf(adapter, path, entries, weight);
  checkShapes(adapter, path, layer, entries);
  const tensors: [string, ModuleTensor][] = [];
  for (const [name, entry] of Object.entries(entries)) tensors.push([name, { shape: entry.shape, values: await reader.read(entry) }]);
  const module: AdapterModule = { layer, settings: moduleSettings(adapter, path), tensors: Object.fromEntries(tensors) };
  if (choice === undefined && family.factors !== undefined) return family.factors(module);
  const values = weight === undefined || !family.needsBase ? undefined : await reader.read(weight);
  const part = partOfModule(family, module, values === undefined ? undefined : () => values);
  const found = choice === undefined ? family.math?.lowRank?.(float64, part, {}) : chosenFactors(adapter, part, choice);
  if (found === undefined) throw new TypeError(`${family.type} has no factors`);
  return { ...layer, r: found.a.shape[0] ?? 0, a: found.a.values, b: found.b.values, scale: found.scale };
}

/** @throws WeightsmithError `adapter-choice-invalid` */
function chosenFactors({ family, configFile }: AdapterFile, part: Part<Array64>, choice: string) {
  try {
    return family.math?.chosen?.(float64, part, choice);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw inputError("adapter-choice-invalid", `${family.title} has no such choice`, { file: configFile, found: choice, expected: error.message });
  }
}

async function writeFactors(write: WriteTensor, path: string, { r, a, b, scale, inFeatures, outFeatures }: LowRank, dtype: FloatDType): Promise<void> {
  await write({ name: `base_model.model.${path}.lora_A.weight`, dtype, shape: [r, inFeatures] }, a);
  // The scale goes into B: the config's alpha is the rank.
  const scaled = b.map((x) => x * scale);
  await write({ name: `base_model.model.${path}.lora_B.weight`, dtype, shape: [outFeatures, r] }, scaled);
}

/** Enough for every module at the rank of its largest tensor's sides. */
function mostBytes({ modules, shared, replacements }: AdapterFile, { dtype = "F32" }: ExpandRequest): number {
  const pools = Object.values(shared).reduce((sum, { byteLength }) => sum + byteLength, 0);
  const own = [...modules.values(), Object.fromEntries(replacements)].flatMap((entries) => Object.values(entries));
  return DTYPE_BYTES[dtype] * (own.reduce((sum, { byteLength }) => sum + byteLength, 0) + pools * Math.max(1, modules.size));
}

function configOf({ config, replacements }: AdapterFile, modules: readonly { path: string; rank: number }[]): Record<string, unknown> {
  const saved = [...new Set([...replacements.keys()].map((name) => name.replace(/\.[^.]+$/, "")))];
  const fanInFanOut = config.fan_in_fan_out === true;
  const facts = { modules, base: config.base_model_name_or_path, task: config.task_type, bias: "none" as const, fanInFanOut };
  return loraConfig({ ...facts, modulesToSave: saved.length === 0 ? null : saved });
}

const aboutOf = ({ family }: AdapterFile, { adapter, choice }: ExpandRequest): string =>
  `The ${family.title} adapter \`${adapter}\`${choice === undefined ? "" : ` at \`${choice}\``} as a plain LoRA, by \`weightsmith adapter expand\`.`;
