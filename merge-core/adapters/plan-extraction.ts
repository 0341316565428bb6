// What of a fine-tuned model becomes factors, what is stored whole, and what must not differ: from both models' headers alone.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { CONV1D_MODELS } from "../checkpoints/conv1d.ts";
import { placeOf } from "../checkpoints/tensor-roles.ts";
import { hasTokenRows, isTokenEmbedding } from "../checkpoints/token-rows.ts";
import { type Diagnostic, inputError, nearestName } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";

export interface TensorPair {
  readonly base: TensorEntry;
  readonly model: TensorEntry;
}

/** A matrix whose change is decomposed. */
export interface FactorModule {
  /** As PEFT names it. */
  readonly path: string;
  readonly weight: TensorPair;
  readonly bias: TensorPair | undefined;
  readonly embedding: boolean;
  /** Stored [in, out]. */
  readonly transposed: boolean;
}

/** A module that is stored whole if any of its tensors has changed. */
export interface WholeModule {
  readonly path: string;
  readonly pairs: readonly TensorPair[];
  /** The model uses it as its head too. */
  readonly tied: boolean;
  /** What to tell if it is stored. */
  readonly note: Diagnostic | undefined;
}

export interface ExtractionPlan {
  readonly factors: readonly FactorModule[];
  readonly whole: readonly WholeModule[];
  /** Buffers and tensors without numbers to subtract. */
  readonly unchanging: readonly TensorPair[];
  readonly fanInFanOut: boolean;
}

/** @throws WeightsmithError `extract-*` */
export function planExtraction(base: Checkpoint, model: Checkpoint): ExtractionPlan {
  const pairs = pairTensors(base, model);
  const fanInFanOut = CONV1D_MODELS.includes(String(base.config?.model_type));
  const tied = model.config?.tie_word_embeddings === true || ![...model.tensors.keys()].some((name) => placeOf(name).role === "head");
  const factors: FactorModule[] = [];
  const whole: WholeModule[] = [];
  const unchanging: TensorPair[] = [];
  for (const [path, group] of byModule(pairs, base)) {
    const weight = group.get("weight");
    const bias = group.get("bias");
    if (weight === undefined || [...group.values()].some(({ model: entry }) => !isFloat(entry.dtype))) unchanging.push(...group.values());
    else if (isDecomposable(weight, model, tied)) factors.push({ path, weight, bias, ...layoutOf(weight, fanInFanOut) });
    else whole.push({ path, pairs: [...group.values()], tied: tied && isTokenEmbedding(weight.model.name), note: noteOn(path, weight, model) });
  }
  return { factors, whole, unchanging, fanInFanOut };
}

function pairTensors(base: Checkpoint, model: Checkpoint): TensorPair[] {
  const redundant = (name: string) =>
    placeOf(name).role === "head" && (base.config?.tie_word_embeddings === true || model.config?.tie_word_embeddings === true);
  const lacking = (ours: Checkpoint, theirs: Checkpoint) => [...ours.tensors.keys()].filter((name) => !theirs.tensors.has(name) && !redundant(name));
  for (const [ours, theirs] of [
    [model, base],
    [base, model],
  ] as const) {
    const missing = lacking(ours, theirs);
    const [first] = missing;
    if (first === undefined) continue;
    const near = nearestName(first, theirs.tensors.keys());
    throw inputError("extract-tensor-missing", `${theirs.path} lacks a tensor that ${ours.path} has`, {
      file: theirs.path,
      found: near === undefined ? `no ${first}` : `no ${first}; nearest ${near}`,
      remedy: "both must be of one architecture: is this the base that the model was trained from?",
      notes: missing.length === 1 ? [] : [`${missing.length} such tensors`],
    });
  }
  return [...model.tensors.values()].flatMap((entry) => {
    const before = base.tensors.get(entry.name);
    return before === undefined ? [] : [{ base: before, model: entry }];
  });
}

/** Pairs by module path, then by parameter. */
function byModule(pairs: readonly TensorPair[], base: Checkpoint): Map<string, Map<string, TensorPair>> {
  const bare = CONV1D_MODELS.includes(String(base.config?.model_type)) && ![...base.tensors.keys()].some((name) => name.startsWith("transformer."));
  const modules = new Map<string, Map<string, TensorPair>>();
  for (const pair of pairs) {
    const [, stem = "", parameter = pair.model.name] = /^(.*)\.(weight|bias)$/.exec(pair.model.name) ?? [];
    // Masks of old checkpoints are called attn.bias, and have more than one dimension.
    const isMask = parameter === "bias" && pair.model.shape.length !== 1;
    const path = stem === "" || isMask ? pair.model.name : bare && placeOf(pair.model.name).role !== "head" ? `transformer.${stem}` : stem;
    const group = modules.get(path) ?? new Map<string, TensorPair>();
    modules.set(path, group.set(isMask ? "mask" : parameter, pair));
  }
  return modules;
}

const isSameShape = ({ base, model }: TensorPair): boolean => base.shape.join() === model.shape.join();

/** Whether the change of a module's weight can be factors. @throws WeightsmithError `extract-shape-differs` */
function isDecomposable(pair: TensorPair, checkpoint: Checkpoint, tied: boolean): boolean {
  const { base, model } = pair;
  if (isSameShape(pair)) return model.shape.length === 2 && !(tied && isTokenEmbedding(model.name));
  if (model.shape.length === 2 && model.shape[1] === base.shape[1] && hasTokenRows(model.name, model.shape, checkpoint)) return false;
  throw inputError("extract-shape-differs", `${model.name} has another shape in the base`, {
    file: checkpoint.path,
    found: `[${model.shape.join(", ")}]`,
    expected: `[${base.shape.join(", ")}]`,
    remedy: "is this the base that the model was trained from?",
  });
}

/** What a user of the adapter must know of a matrix that is stored whole. */
function noteOn(path: string, pair: TensorPair, { path: file }: Checkpoint): Diagnostic | undefined {
  const { base, model } = pair;
  if (!isSameShape(pair)) {
    const message = `the vocabulary of ${path} differs, so it is stored whole`;
    const remedy = "resize the base's embeddings before PEFT loads the adapter; weightsmith adapter fold needs nothing done";
    const found = `${model.shape[0]} rows`;
    return { code: "extract-vocabulary-differs", severity: "warning", message, file, found, expected: `${base.shape[0]} as in the base`, remedy };
  }
  if (!isTokenEmbedding(model.name)) return undefined;
  const message = `the model uses ${path} as its head too, so its change is stored whole and not as factors, which PEFT would apply to the embedding alone`;
  return { code: "extract-embedding-tied", severity: "info", message, file, remedy: "servers that refuse modules_to_save need the model itself" };
}

function layoutOf({ model }: TensorPair, fanInFanOut: boolean): { embedding: boolean; transposed: boolean } {
  const { role } = placeOf(model.name);
  return { embedding: role === "embedding", transposed: role === "embedding" || (fanInFanOut && role !== "head") };
}
