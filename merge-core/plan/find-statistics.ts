// The Fisher information and Gram matrices that go with the inputs of a tensor, from the files that the recipe names.

import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { isConv1d } from "../checkpoints/conv1d.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount, type FloatDType, isFloat } from "../formats/dtypes.ts";
import type { StatisticsKind } from "../methods/method.ts";
import type { Recipe } from "../recipe/recipe.ts";
import type { MatchedTensor } from "./match-inputs.ts";
import type { FoundPart } from "./parts.ts";
import type { InputRef } from "./plan.ts";
import { treatmentFor } from "./treat-tensors.ts";

/** What is known of each part of a tensor, in their order. */
export type FoundStatistics = readonly Pick<InputRef, "fisher" | "gram">[];

/**
 * Finds them all. A tensor that no file has is merged without and listed in a warning; that only some have it, a wrong shape or
 * a file of another kind is an error.
 */
export function findStatistics(
  recipe: Recipe,
  matched: readonly MatchedTensor[],
  files: ReadonlyMap<string, Checkpoint>,
  report: (d: Diagnostic) => void,
): ReadonlyMap<MatchedTensor, FoundStatistics> {
  const found = new Map<MatchedTensor, FoundStatistics>();
  const without: string[] = [];
  const told = new Set<string>();
  const complain = (part: FoundPart, code: string, details: Pick<Diagnostic, "message"> & Partial<Diagnostic>) => {
    const key = `${code} ${part.source.model.text}`;
    if (!told.has(key)) report({ code, severity: "error", file: recipe.file, range: part.source.range, ...details });
    told.add(key);
  };
  for (const tensor of matched) {
    const kind = tensor.copy ? undefined : treatmentFor(recipe, tensor.output).method.data;
    if (kind === undefined) continue;
    const entries = tensor.parts.map((part) => findOne(kind, tensor, part, files, complain));
    if (entries.every((entry) => entry === undefined)) without.push(tensor.output.name);
    else found.set(tensor, matchAll(kind, tensor, entries, complain));
  }
  if (without.length > 0)
    report({
      code: "without-statistics",
      severity: "warning",
      message: `${without.length} tensors are not in the files of statistics: they are averaged by weight alone`,
      file: recipe.file,
      range: recipe.methodRange,
      notes: [without.join(", ")],
    });
  return found;
}

type Complain = (part: FoundPart, code: string, details: Pick<Diagnostic, "message"> & Partial<Diagnostic>) => void;

function findOne(kind: StatisticsKind, { shape }: MatchedTensor, part: FoundPart, files: ReadonlyMap<string, Checkpoint>, complain: Complain) {
  const reference = part.source.statistics?.get(kind);
  const file = files.get(reference?.text ?? "");
  if (reference === undefined || file === undefined) return undefined;
  const stated = file.shards[0]?.metadata["weightsmith.kind"];
  if (stated !== undefined && stated !== kind)
    complain(part, "statistics-kind", { message: `${reference.text} is a file of another kind`, range: reference.range, found: stated, expected: kind });
  return kind === "gram" && shape.length !== 2 ? undefined : file.tensors.get(part.entry.name);
}

function matchAll(kind: StatisticsKind, tensor: MatchedTensor, entries: readonly (TensorEntry | undefined)[], complain: Complain): FoundStatistics {
  return tensor.parts.map((part, i) => {
    const entry = entries[i];
    const file = part.source.statistics?.get(kind);
    const range = file?.range ?? part.source.range;
    const expected = kind === "fisher" ? part.entry.shape : gramShape(part);
    if (entry === undefined)
      complain(part, "statistics-missing", {
        message: `${file?.text} lacks a tensor that the files of other models have`,
        range,
        found: `no ${part.entry.name}`,
        remedy: "make the files of all models in the same way",
      });
    else if (!isFloat(entry.dtype) || entry.shape.join() !== expected.join())
      complain(part, "statistics-shape", {
        message: `${file?.text} does not fit ${part.source.model.text}`,
        range,
        found: `${entry.name} of shape [${entry.shape.join(", ")}] in ${entry.dtype}`,
        expected: `[${expected.join(", ")}], floating point`,
        remedy: "make the file from this model",
      });
    else if (tensor.rows?.[i] !== undefined)
      complain(part, "statistics-vocabulary", {
        message: "models with statistics cannot be brought to another vocabulary",
        found: part.entry.name,
        remedy: "leave tokenizer and tokenizer_source out, or merge this tensor by another method in overrides",
      });
    else if (kind === "fisher") return { fisher: stored(entry, tensor.shape) };
    else return { gram: { ...stored(entry, expected), side: inputSide(part) } };
    return {};
  });
}

const inputSide = ({ entry, checkpoint }: FoundPart) => (isConv1d(entry.name, checkpoint) ? "rows" : "columns");

function gramShape(part: FoundPart): number[] {
  const [rows = 0, columns = 0] = part.entry.shape;
  const side = inputSide(part) === "rows" ? rows : columns;
  return [side, side];
}

/** The leading rows that make up `shape`. */
function stored({ name, file, offset, dtype }: TensorEntry, shape: readonly number[]) {
  if (!isFloat(dtype)) throw new TypeError(`${name} is not floating point`);
  return { name, file, offset, dtype: dtype as FloatDType, shape, byteLength: elementCount(shape) * DTYPE_BYTES[dtype] };
}
