// For each output tensor, the input tensors that it is made from: what models lack is found elsewhere or reported, and
// shapes must agree. Embeddings of different vocabularies are cropped to the rows they share.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { placeOf, type TensorRole } from "../checkpoints/tensor-roles.ts";
import { hasTokenRows, isTokenEmbedding } from "../checkpoints/token-rows.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";
import type { MergeMethod } from "../methods/method.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { Complaints } from "./match-complaints.ts";
import type { OutputVocabulary } from "./output-vocabulary.ts";
import { type FoundPart, type OutputTensor, type Part, primaryOf } from "./parts.ts";
import type { RowMap } from "./plan.ts";
import { rowMaps } from "./row-maps.ts";
import { treatmentFor } from "./treat-tensors.ts";

export interface MatchedTensor {
  readonly output: OutputTensor;
  /** The inputs to merge, or the one to copy. */
  readonly parts: readonly FoundPart[];
  readonly copy: boolean;
  /** Shape of the output; inputs may have more rows. */
  readonly shape: readonly number[];
  /** By part, where its rows are not in the order of the output's vocabulary. */
  readonly rows?: readonly (RowMap | undefined)[];
}

/** Buffers that old checkpoints hold and new ones compute: not weights, so one model's copy serves all. */
const BUFFER = /(rotary_emb\.inv_freq|\.attn\.(masked_)?bias|\.attention\.(masked_)?bias|position_ids)$/;

export interface Matching {
  readonly matched: readonly MatchedTensor[];
  /** The output has a head of its own although some inputs use their embedding as one. */
  readonly untied: boolean;
}

/** Matches all tensors; problems are told once per model, not once per tensor. */
export function matchInputs(
  recipe: Recipe,
  tensors: readonly OutputTensor[],
  vocabulary: OutputVocabulary | undefined,
  report: (d: Diagnostic) => void,
): Matching {
  const complaints = new Complaints(recipe, report);
  const matched: MatchedTensor[] = [];
  let untied = false;
  const foreign = recipe.tensorNames === undefined ? foreignParts(tensors) : [];
  for (const { part, primary } of foreign) complaints.foreign(part, primary);
  for (const output of foreign.length > 0 ? [] : tensors) {
    if (isRedundantHead(output)) continue;
    const parts = output.parts.map((part) => findPart(part, output.parts));
    const tied = parts.filter((part, i) => part !== output.parts[i]);
    untied ||= tied.length > 0;
    complaints.tied(output, tied);
    const chosen = chooseParts(recipe, output, parts, complaints);
    const match = chosen && matchOne(chosen, chosen.parts, vocabulary, complaints);
    if (match !== undefined) matched.push(match);
  }
  if (recipe.tensorNames === "intersection" && matched.length === 0) complaints.noneShared();
  complaints.tell();
  return { matched, untied };
}

/** With less than this share of the base's names, a model is of another kind altogether. */
const LEAST_SHARED = 0.1;

/** The first part of each model that shares hardly any name with the base (else with the first model). */
function foreignParts(tensors: readonly OutputTensor[]): { part: Part; primary: Part }[] {
  const counts = new Map<string, { part: Part; primary: Part; of: number; shared: number }>();
  for (const { parts } of tensors) {
    const primary = primaryOf(parts);
    if (primary?.entry === undefined) continue;
    for (const part of parts) {
      const known = counts.get(part.source.model.text) ?? { part, primary, of: 0, shared: 0 };
      counts.set(part.source.model.text, { ...known, of: known.of + 1, shared: known.shared + (part.entry === undefined ? 0 : 1) });
    }
  }
  return [...counts.values()].filter(({ of, shared }) => shared < LEAST_SHARED * of);
}

const isTied = ({ config }: Checkpoint): boolean => config?.tie_word_embeddings === true;

/** A head that only some models store, all of which say that it is their embedding: leaving it out loses nothing. */
function isRedundantHead({ name, parts }: OutputTensor): boolean {
  if (placeOf(name).role !== "head" || parts.every(({ entry }) => entry !== undefined)) return false;
  return parts.every(({ checkpoint }) => isTied(checkpoint));
}

/** A head that a model lacks is its embedding, if one of that shape is there and the model does not say otherwise. */
function findPart(part: Part, parts: readonly Part[]): Part {
  if (part.entry !== undefined || placeOf(part.name).role !== "head" || part.checkpoint.config?.tie_word_embeddings === false) return part;
  const width = parts.find(({ entry }) => entry !== undefined)?.entry?.shape[1];
  const embedding = [...part.checkpoint.tensors.values()].find(({ name, shape }) => isTokenEmbedding(name) && shape.length === 2 && shape[1] === width);
  return embedding === undefined ? part : { ...part, entry: embedding };
}

/**
 * Where only some models have a tensor and the recipe says what then: for an intersection nothing, for a union the parts of those that have it.
 * A tensor of one model that the method cannot merge alone is taken as it is; what else is too little stays uneven, and is told as that.
 */
function chooseParts(recipe: Recipe, output: OutputTensor, parts: readonly Part[], complaints: Complaints): OutputTensor | undefined {
  const found = parts.filter(({ entry }) => entry !== undefined);
  if (recipe.tensorNames === undefined || found.length === parts.length || BUFFER.test(output.name)) return { ...output, parts };
  if (recipe.tensorNames === "intersection") {
    complaints.leftOut(parts);
    return undefined;
  }
  const mergeable = canMerge(treatmentFor(recipe, output).method, parts, found);
  if (!mergeable && found.length !== 1) return { ...output, parts };
  complaints.fewer(parts, mergeable);
  return { ...output, parts: found, ...(!mergeable && { kept: true as const }) };
}

/** Whether the method can do with the models that have the tensor: not without the base that it would take differences from. */
function canMerge({ base, models }: MergeMethod, parts: readonly Part[], found: readonly Part[]): boolean {
  const hasBase = found.some(({ source }) => source.isBase);
  if (base === "none") return found.length >= models.min;
  return (hasBase || !parts.some(({ source }) => source.isBase)) && found.length - (hasBase ? 1 : 0) >= models.min;
}

function matchOne(output: OutputTensor, parts: readonly Part[], vocabulary: OutputVocabulary | undefined, complaints: Complaints): MatchedTensor | undefined {
  const found = parts.filter((part): part is FoundPart => part.entry !== undefined);
  const primary = primaryOf(found);
  if (primary === undefined) return undefined;
  const copied = { output, parts: [primary], copy: true, shape: primary.entry.shape };
  if (found.length < parts.length) {
    if (BUFFER.test(output.name)) return copied;
    complaints.uneven(parts);
    return undefined;
  }
  if (found.every(({ entry }) => !isFloat(entry.dtype))) return copied;
  const odd = found.find(({ entry }) => !isFloat(entry.dtype));
  if (odd !== undefined) {
    complaints.notFloat(odd);
    return undefined;
  }
  const [, ...width] = primary.entry.shape;
  const oneWidth = found.every(({ entry }) => sameShape(entry.shape.slice(1), width));
  if (vocabulary !== undefined && oneWidth && found.every(({ name, entry, checkpoint }) => hasTokenRows(name, entry.shape, checkpoint))) {
    const rows = rowMaps(vocabulary, found, (d) => complaints.once(d));
    return { output, parts: found, copy: false, shape: [vocabulary.rows, ...width], rows };
  }
  const shape = commonShape(found, placeOf(output.name).role);
  for (const part of found) if (shape === undefined && !sameShape(part.entry.shape, primary.entry.shape)) complaints.shapes(part, primary);
  if (shape !== undefined && found.some(({ entry }) => !sameShape(entry.shape, shape))) complaints.cropped(output, found, shape);
  return shape === undefined ? undefined : { output, parts: found, copy: false, shape };
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((dim, i) => dim === b[i]);

/** The shape all parts have, or for embeddings and heads of one width the rows that all have. */
function commonShape(parts: readonly FoundPart[], role: TensorRole): readonly number[] | undefined {
  const [first, ...others] = parts.map(({ entry }) => entry.shape);
  if (first === undefined || others.every((shape) => sameShape(shape, first))) return first;
  if (role !== "embedding" && role !== "head") return undefined;
  const [, width] = first;
  if (width === undefined || [first, ...others].some((shape) => shape.length !== 2 || shape[1] !== width)) return undefined;
  return [Math.min(...[first, ...others].map(([rows = 0]) => rows)), width];
}
