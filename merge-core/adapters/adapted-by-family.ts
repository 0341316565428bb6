// A model with an adapter of any family but LoRA, as one checkpoint: names and shapes are matched, nothing is computed. Node only.
import type { Checkpoint, FamilyPatch, TensorEntry } from "../checkpoints/checkpoint.ts";
import { inputError } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";
import { baseNames, missingError, replaceTensors, shapeError } from "./base-tensors.ts";
import { checkTokens, ROWS, trainableTokens } from "./families/trainable-tokens.ts";
import type { LayerShape, Shapes } from "./family.ts";
import { type AdapterFile, type ModuleEntries, moduleSettings, readAdapter, sharedEntries } from "./read-adapter.ts";

export interface AdaptOptions {
  readonly signal?: AbortSignal;
  /** Only names and shapes matter: families that no weights can take the place of are let through. */
  readonly fitOnly?: boolean;
}

/** @throws WeightsmithError `adapter-*`, and whatever opening the adapter throws */
export async function adaptByFamily(base: Checkpoint, folder: string, options: AdaptOptions): Promise<Checkpoint> {
  const adapter = await readAdapter(folder, options);
  if (options.fitOnly !== true) checkFoldable(adapter);
  const tensors = new Map(base.tensors);
  const names = baseNames(base);
  const missing = replaceTensors(tensors, names, adapter.replacements, adapter.file);
  for (const [module, entries] of adapter.modules) {
    const target = names(`${module}.weight`);
    const weight = target === undefined ? undefined : base.tensors.get(target);
    if (target === undefined || weight === undefined) {
      missing.push(`${module}.weight`);
      continue;
    }
    const patch = patchOf(adapter, module, entries, weight);
    tensors.set(target, { ...weight, lora: patch });
    const bias = base.tensors.get(target.replace(/weight$/, "bias"));
    if (bias !== undefined && changesBias(adapter, entries)) tensors.set(bias.name, { ...bias, lora: patch });
  }
  if (missing.length > 0) throw missingError(base, missing, adapter.file);
  return { ...base, tensors, shards: [...base.shards, ...adapter.shards] };
}

/** @throws WeightsmithError `adapter-not-foldable` */
export function checkFoldable({ family, configFile }: Pick<AdapterFile, "family" | "configFile">): void {
  if (family.foldable === "exact") return;
  const perTask = family.foldable === "per-task";
  throw inputError("adapter-not-foldable", `no weights do what an adapter of type ${family.type} does`, {
    file: configFile,
    found: perTask ? "a change for each task" : "a change that depends on the input",
    expected: "a family that folds (weightsmith adapter families)",
    ...(family.math?.chosen === undefined ? {} : { remedy: "write one choice of it as a LoRA: weightsmith adapter expand ADAPTER OUT --choice ..." }),
  });
}

/** Vectors [out, 1] scale outputs, those [1, in] inputs: only the former reach the bias. */
export const changesBias = ({ family }: Pick<AdapterFile, "family">, entries: ModuleEntries): boolean =>
  family.biasFactor !== undefined && Object.values(entries).some(({ shape }) => shape[1] === 1);

function patchOf(adapter: AdapterFile, module: string, entries: ModuleEntries, weight: TensorEntry): FamilyPatch {
  const transposed = adapter.config.fan_in_fan_out === true;
  const [rows = 0, columns = 0] = weight.shape;
  if (weight.shape.length !== 2 || !isFloat(weight.dtype))
    throw shapeError(weight, `${weight.dtype} [${weight.shape.join(", ")}]`, "a floating-point matrix", adapter.file);
  const layer = transposed ? { inFeatures: rows, outFeatures: columns } : { inFeatures: columns, outFeatures: rows };
  const settings = moduleSettings(adapter, module);
  const tensors = { ...sharedEntries(adapter, module), ...entries };
  checkShapes(adapter, module, layer, tensors);
  const replacing = adapter.family.type === trainableTokens.type ? tensors[ROWS] : undefined;
  if (replacing !== undefined) checkTokens(adapter.config.token_indices, weight, adapter.configFile, replacing);
  return { family: adapter.family.type, settings, tensors, transposed };
}

/** Every tensor that the family says is there must be, in the shape that the layer and the settings give. */
export function checkShapes(adapter: AdapterFile, module: string, layer: LayerShape, entries: ModuleEntries): void {
  const { family, file } = adapter;
  const held: Shapes = Object.fromEntries(Object.entries(entries).map(([name, { shape }]) => [name, shape]));
  const expected = family.shapes(layer, moduleSettings(adapter, module), held);
  for (const name of [...Object.keys(expected), ...family.shared.filter((tensor) => tensor.optional !== true).map((tensor) => tensor.name)]) {
    const entry = entries[name];
    if (entry === undefined)
      throw inputError("adapter-incomplete", `${module} lacks its ${name}`, {
        file,
        found: Object.keys(entries).join(", "),
        expected: `${name}${expected[name] === undefined ? "" : ` [${expected[name].join(", ")}]`}`,
        remedy: remedyFor(family, name),
      });
    const wanted = expected[name];
    if (wanted !== undefined && wanted.join() !== entry.shape.join())
      throw shapeError(
        { name: entry.name },
        `[${entry.shape.join(", ")}]`,
        `[${wanted.join(", ")}] for ${layer.outFeatures} outputs and ${layer.inFeatures} inputs`,
        file,
      );
  }
  const extra = Object.keys(entries).find((name) => expected[name] === undefined && !family.shared.some((tensor) => tensor.name === name));
  if (extra !== undefined)
    throw inputError("adapter-tensor-unexpected", `${module} has a tensor ${extra} that its settings do not call for`, {
      file,
      found: Object.keys(entries).join(", "),
      expected: Object.keys(expected).join(", "),
    });
}

/** What PEFT does not store is not missing by mistake. */
function remedyFor({ beside, tensors }: AdapterFile["family"], name: string): string {
  const known = tensors.find((tensor) => tensor.name === name);
  if (beside !== undefined && known?.trained === false) return `${beside.file} is not beside it, or lacks the module. ${beside.remedy}`;
  return "the file is incomplete, or its adapter_config.json is of another adapter";
}
