// An adapter's names and shapes against those of the model it changes.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { placeOf } from "../checkpoints/tensor-roles.ts";
import { inputError, nearestName, type WeightsmithError } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";

const REMEDY = "is this the base model that the adapter was trained on?";

/**
 * Names of the base by those of the adapter. Adapters name modules as the model with its head does; some checkpoints
 * leave the outermost prefix out (`h.0.attn` for `transformer.h.0.attn`), or have one more.
 */
export function baseNames({ tensors }: Checkpoint): (name: string) => string | undefined {
  const byEnd = new Map<string, string[]>();
  for (const name of tensors.keys()) {
    const end = name.slice(name.indexOf(".") + 1);
    byEnd.set(end, [...(byEnd.get(end) ?? []), name]);
  }
  const only = (names: readonly string[] = []) => (names.length === 1 ? names[0] : undefined);
  return (name) => {
    if (tensors.has(name)) return name;
    const shorter = name.slice(name.indexOf(".") + 1);
    return tensors.has(shorter) ? shorter : only(byEnd.get(name));
  };
}

/** Puts an adapter's whole tensors in the place of the base's. @returns names that the base lacks */
export function replaceTensors(
  tensors: Map<string, TensorEntry>,
  names: (name: string) => string | undefined,
  replacements: ReadonlyMap<string, TensorEntry>,
  file: string,
): string[] {
  const missing: string[] = [];
  for (const [name, entry] of replacements) {
    const target = names(name);
    const replaced = target === undefined ? undefined : tensors.get(target);
    if (replaced === undefined && isCopyOfEmbedding(name, entry, tensors, replacements)) continue;
    if (target === undefined || replaced === undefined) missing.push(name);
    else tensors.set(target, replacement(replaced, entry, file));
  }
  return missing;
}

/** PEFT stores a head beside its embedding also where both are one tensor, of which the base has only the embedding. */
function isCopyOfEmbedding(
  name: string,
  { shape }: TensorEntry,
  tensors: ReadonlyMap<string, TensorEntry>,
  replacements: ReadonlyMap<string, TensorEntry>,
): boolean {
  if (placeOf(name).role !== "head" || [...tensors.keys()].some((other) => placeOf(other).role === "head")) return false;
  return [...replacements.values()].some((other) => placeOf(other.name).role === "embedding" && other.shape.join() === shape.join());
}

/** Only the vocabulary of embeddings and heads may have grown. */
function replacement(old: TensorEntry, entry: TensorEntry, file: string): TensorEntry {
  const { role } = placeOf(old.name);
  const rowsMayDiffer = (role === "embedding" || role === "head") && old.shape.length === 2;
  const same = entry.shape.length === old.shape.length && entry.shape.every((dim, i) => dim === old.shape[i] || (i === 0 && rowsMayDiffer));
  if (same && isFloat(entry.dtype) === isFloat(old.dtype)) return { ...entry, name: old.name };
  throw shapeError(old, `${entry.dtype} [${entry.shape.join(", ")}] in the adapter`, `${old.dtype} [${old.shape.join(", ")}]`, file);
}

export function shapeError({ name }: { readonly name: string }, found: string, expected: string, file: string): WeightsmithError {
  return inputError("adapter-shape-mismatch", `the adapter does not fit ${name}`, { file, found, expected, remedy: REMEDY });
}

export function missingError(base: Checkpoint, missing: readonly string[], file: string): WeightsmithError {
  const [first = ""] = missing;
  const near = nearestName(first, base.tensors.keys());
  return inputError("adapter-target-missing", `the base model has no tensor ${first} that the adapter could change`, {
    file,
    found: near === undefined ? `no ${first} in ${base.path}` : `nearest in ${base.path}: ${near}`,
    remedy: REMEDY,
    ...(missing.length === 1 ? {} : { notes: [`${missing.length} such tensors: ${missing.slice(0, 5).join(", ")}${missing.length > 5 ? ", ..." : ""}`] }),
  });
}
