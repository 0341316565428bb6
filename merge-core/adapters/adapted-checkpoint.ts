// A model with an adapter, as one checkpoint: nothing is computed or copied, the tensors that the adapter changes only
// say what they are changed by. Node only.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Checkpoint, FamilyPatch, LoraPatch, TensorEntry, TensorSpan } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import { elementCount, isFloat } from "../formats/dtypes.ts";
import { type AdaptOptions, adaptByFamily } from "./adapted-by-family.ts";
import { baseNames, missingError, replaceTensors, shapeError } from "./base-tensors.ts";
import { lora } from "./families/lora.ts";
import { ROWS, tokenPatch } from "./families/trainable-tokens.ts";
import { CONFIG, checkRank, loraScale, readAdapterConfig, readLoraConfig, TENSORS } from "./peft-config.ts";

/** What PEFT wrote before safetensors. */
const OLD_TENSORS = "adapter_model.bin";

/** Settings that tensors of their own tell of, and that are dealt with here. */
const BY_TENSORS = ["use_dora", "bias", "fan_in_fan_out", "modules_to_save", "lora_bias", "trainable_token_indices", "init_lora_weights"];

/** The tensors of an adapter that belong to one module of the base. */
interface ModuleFactors {
  a?: TensorSpan;
  b?: TensorSpan;
  magnitude?: TensorSpan;
  /** Of B [out]. */
  bias?: TensorSpan;
  embedding: boolean;
}

interface AdapterTensors {
  /** By module path. */
  readonly modules: Map<string, ModuleFactors>;
  /** Rows of embeddings, by module path. */
  readonly rows: Map<string, TensorEntry>;
  /** Tensors that take the place of the base's, by name. */
  readonly replacements: Map<string, TensorEntry>;
}

/**
 * The base with an adapter as PEFT writes it, of any family that can be folded.
 * @throws WeightsmithError `adapter-*`, and whatever opening the adapter throws
 */
export async function adaptCheckpoint(base: Checkpoint, folder: string, options: AdaptOptions = {}): Promise<Checkpoint> {
  const { peft_type: type } = await readAdapterConfig(join(folder, CONFIG));
  return type === lora.type ? adaptByLora(base, folder, options) : adaptByFamily(base, folder, options);
}

/** Linear layers, embeddings, Conv1D, DoRA, trained biases and modules_to_save. */
async function adaptByLora(base: Checkpoint, folder: string, options: { readonly signal?: AbortSignal }): Promise<Checkpoint> {
  const configFile = join(folder, CONFIG);
  const config = await readLoraConfig(configFile, BY_TENSORS);
  const file = [TENSORS, OLD_TENSORS].map((name) => join(folder, name)).find(existsSync);
  if (file === undefined) throw inputError("adapter-without-tensors", "the adapter has no tensors", { file: folder, expected: `${TENSORS} or ${OLD_TENSORS}` });
  const adapter = await openCheckpoint(file, options);
  const { modules, rows, replacements } = sortTensors(adapter, config.lora_bias === true, file);
  for (const [module, { a }] of modules) if (a?.shape[0] !== undefined) checkRank(config, module, a.shape[0], configFile);
  const scaleOf = loraScale(config, configFile);
  const tensors = new Map(base.tensors);
  const names = baseNames(base);
  const missing = replaceTensors(tensors, names, replacements, file);
  for (const [module, factors] of modules) {
    const target = names(`${module}.weight`);
    const weight = target === undefined ? undefined : tensors.get(target);
    if (target === undefined || weight === undefined) missing.push(`${module}.weight`);
    else
      tensors.set(target, {
        ...weight,
        lora: startedPatch(config, module, patchOf(module, weight, factors, config.fan_in_fan_out === true, scaleOf, file), factors, file),
      });
    if (config.lora_bias !== true || factors.embedding) continue;
    const bias = tensors.get(names(`${module}.bias`) ?? "");
    if (bias === undefined) missing.push(`${module}.bias`);
    else tensors.set(bias.name, { ...bias, lora: biasPatch(module, bias, factors, scaleOf, file) });
  }
  for (const [module, entry] of rows) {
    const weight = tensors.get(names(`${module}.weight`) ?? "");
    if (weight === undefined) missing.push(`${module}.weight`);
    else if (weight.lora !== undefined)
      throw inputError("adapter-type-unsupported", `${module} has both factors and rows of tokens`, { file, found: entry.name });
    else tensors.set(weight.name, { ...weight, lora: tokenPatch(config, module, weight, entry, configFile) });
  }
  if (missing.length > 0) throw missingError(base, missing, file);
  return { ...base, tensors, shards: [...base.shards, ...adapter.shards] };
}

const TOKEN_ROWS = new RegExp(`^(.+)\\.token_adapter\\.${ROWS}(?:\\.default)?$`);

function sortTensors({ tensors }: Checkpoint, withBiases: boolean, file: string): AdapterTensors {
  const sorted: AdapterTensors = { modules: new Map(), rows: new Map(), replacements: new Map() };
  for (const entry of tensors.values()) {
    const path = /^base_model\.model\.(.+)$/.exec(entry.name)?.[1];
    const [, module, side, magnitude] =
      /^(.+)\.(?:lora_(A|B|embedding_A|embedding_B)|lora_(magnitude_vector))(?:\.default)?(?:\.weight)?$/.exec(path ?? "") ?? [];
    const [, biased] = (withBiases && /^(.+)\.lora_B(?:\.default)?\.bias$/.exec(path ?? "")) || [];
    const [, tokens] = TOKEN_ROWS.exec(path ?? "") ?? [];
    if (module !== undefined) addFactor(sorted.modules, module, side, magnitude, entry);
    else if (biased !== undefined) sorted.modules.set(biased, { embedding: false, ...sorted.modules.get(biased), bias: entry });
    else if (tokens !== undefined) sorted.rows.set(tokens, entry);
    else if (path === undefined || /(^|\.)(lora_|token_adapter|trainable_tokens)/.test(path)) throw unexpectedError(entry, file);
    else sorted.replacements.set(path.replace(/\.(base_layer|modules_to_save(?:\.default)?)(?=\.[^.]+$)/, ""), entry);
  }
  return sorted;
}

function addFactor(modules: Map<string, ModuleFactors>, module: string, side: string | undefined, magnitude: string | undefined, entry: TensorEntry): void {
  const factors = modules.get(module) ?? { embedding: false };
  modules.set(module, factors);
  if (magnitude !== undefined) factors.magnitude = entry;
  else if (side?.endsWith("A")) factors.a = entry;
  else factors.b = entry;
  if (side?.startsWith("embedding")) factors.embedding = true;
}

/** Last parts of names that are sorted here. */
const NAMES = ["lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector"];

function unexpectedError({ name, dtype, shape }: TensorEntry, file: string) {
  const near = nearestName(name.replace(/\.(weight|default)$/, "").replace(/^.*\./, ""), NAMES);
  return inputError("adapter-tensor-unexpected", `tensor ${name} is not one that can be folded`, {
    file,
    found: `${dtype} [${shape.join(", ")}]`,
    expected: "factors of linear layers or embeddings, magnitudes, or whole tensors of the base",
    ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
  });
}

function patchOf(
  module: string,
  weight: TensorEntry,
  { a, b, magnitude, embedding }: ModuleFactors,
  fanInFanOut: boolean,
  scaleOf: (module: string, rank: number) => number,
  file: string,
): LoraPatch {
  const write = (span: TensorSpan | undefined) => (span === undefined ? "missing" : `[${span.shape.join(", ")}]`);
  if (a === undefined || b === undefined || !belongTogether(a, b))
    throw inputError("adapter-incomplete", `the factors of ${module} do not belong together`, {
      file,
      found: `A ${write(a)}, B ${write(b)}`,
      expected: "A [r, in] and B [out, r], or of a convolution without groups A [r, in, k, ...] and B [out, r, 1, ...]",
    });
  const [r = 0, inputs = 0, ...kernel] = a.shape;
  const [outputs = 0] = b.shape;
  const transposed = kernel.length === 0 && (embedding || fanInFanOut);
  const expected = transposed ? [inputs, outputs] : [outputs, inputs, ...kernel];
  const fits = weight.shape.join() === expected.join() && (magnitude === undefined || (elementCount(magnitude.shape) === outputs && isFloat(magnitude.dtype)));
  if (!fits || !isFloat(weight.dtype)) throw shapeError(weight, `${weight.dtype} ${write(weight)}`, `a floating-point tensor [${expected.join(", ")}]`, file);
  if (embedding && magnitude !== undefined)
    throw inputError("adapter-type-unsupported", `DoRA of an embedding (${module}) is not supported`, { file, found: magnitude.name });
  // A convolution's change is that of a layer whose inputs are all places of the kernel.
  const factors = { a: { ...a, shape: [r, elementCount(a.shape) / r] }, b: { ...b, shape: [outputs, r] } };
  return { ...factors, scale: scaleOf(module, r), transposed, ...(magnitude === undefined ? {} : { magnitude }) };
}

const belongTogether = (a: TensorSpan, b: TensorSpan): boolean =>
  a.shape.length >= 2 &&
  b.shape.length === a.shape.length &&
  a.shape[0] === b.shape[1] &&
  (a.shape[0] ?? 0) > 0 &&
  b.shape.slice(2).every((side) => side === 1) &&
  isFloat(a.dtype) &&
  isFloat(b.dtype);

/** What B's own bias adds to the layer's, scaled as the product is. */
function biasPatch(
  module: string,
  base: TensorEntry,
  { a, bias }: ModuleFactors,
  scaleOf: (module: string, rank: number) => number,
  file: string,
): FamilyPatch {
  if (bias === undefined)
    throw inputError("adapter-incomplete", `${module} lacks its lora_B.bias`, { file, expected: "one for each layer, as lora_bias is true" });
  if (bias.shape.join() !== base.shape.join() || !isFloat(base.dtype) || !isFloat(bias.dtype))
    throw shapeError(base, `${bias.dtype} [${bias.shape.join(", ")}]`, `a floating-point tensor [${base.shape.join(", ")}]`, file);
  const settings = { r: 1, lora_alpha: scaleOf(module, a?.shape[0] ?? 1), use_rslora: false };
  return { family: lora.type, settings, tensors: { "lora_B.bias": bias }, transposed: false };
}

/** With what the base lost when training started, if it did. */
function startedPatch(
  { init_lora_weights: start }: Readonly<Record<string, unknown>>,
  module: string,
  patch: LoraPatch,
  { a, embedding }: ModuleFactors,
  file: string,
): LoraPatch | FamilyPatch {
  if (start !== "pissa" && start !== "olora") return patch;
  // PEFT's OLoRA takes the stored matrix, whichever side its inputs are on.
  if (embedding || a?.shape.length !== 2 || (start === "olora" && patch.transposed))
    throw inputError("adapter-type-unsupported", `${start} of other than linear layers (${module}) is not supported`, {
      file,
      found: `init_lora_weights ${start}`,
    });
  const [r = 1] = a.shape;
  const settings = { r, lora_alpha: patch.scale * r, use_rslora: false, use_dora: patch.magnitude !== undefined, taken_off_base: start };
  const magnitude: Record<string, TensorSpan> = patch.magnitude === undefined ? {} : { lora_magnitude_vector: patch.magnitude };
  return { family: lora.type, settings, tensors: { lora_A: patch.a, lora_B: patch.b, ...magnitude }, transposed: patch.transposed };
}
