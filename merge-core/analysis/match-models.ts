// Which tensors of several models can be compared, and in what the models differ if they cannot.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { packedTensor } from "../checkpoints/packed.ts";
import { layerStacks, placeOf } from "../checkpoints/tensor-roles.ts";
import { type Diagnostic, WeightsmithError } from "../diagnostics.ts";
import { elementCount, isFloat } from "../formats/dtypes.ts";

export interface MatchedTensors {
  /** By tensor, its entry in each model, in the order of the models. */
  readonly tensors: readonly (readonly TensorEntry[])[];
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

/** Buffers that some versions save and others compute; they hold no weights. */
const BUFFER = /(rotary_emb\.inv_freq|\.attn\.(masked_)?bias|\.attention\.(masked_)?bias|position_ids)$/;

/**
 * Matches tensors by name with those of the first model.
 * @throws WeightsmithError `architecture-differs`, `layer-count-differs`, `vocabulary-differs`, `shapes-differ`, `tensor-missing`,
 * each with the first difference and how many there are; `packed-tensors`, `model-empty`
 */
export function matchModels(models: readonly Checkpoint[]): MatchedTensors {
  const [first, ...others] = models;
  if (first === undefined) throw new TypeError("there is nothing to compare");
  const problems = [...models.flatMap(unusable), ...others.flatMap((other) => differences(first, other))];
  if (problems.length > 0) throw new WeightsmithError(problems);
  const names = new Set(models.flatMap((model) => [...model.tensors.keys()]));
  const skipped: { name: string; reason: string }[] = [];
  const tensors: TensorEntry[][] = [];
  for (const name of names) {
    const entries = models.flatMap((model) => model.tensors.get(name) ?? []);
    const reason = reasonToSkip(name, entries, models);
    if (reason === undefined) tensors.push(entries);
    else skipped.push({ name, reason });
  }
  return { tensors, skipped };
}

function reasonToSkip(name: string, entries: readonly TensorEntry[], models: readonly Checkpoint[]): string | undefined {
  const odd = entries.find((entry) => !isFloat(entry.dtype));
  if (odd !== undefined) return `stored as ${odd.dtype}, which holds no weights`;
  if (entries.length < models.length)
    return `not in ${models
      .filter((model) => !model.tensors.has(name))
      .map((model) => model.path)
      .join(", ")}`;
  return entries.some((entry) => elementCount(entry.shape) === 0) ? "has no elements" : undefined;
}

function unusable({ path, tensors }: Checkpoint): Diagnostic[] {
  if (tensors.size === 0) return [{ code: "model-empty", severity: "error", message: "the model holds no tensors", file: path }];
  const packed = [...tensors.keys()].find((name) => packedTensor(name) !== undefined);
  if (packed === undefined) return [];
  const found = `tensor ${packed} (${packedTensor(packed)})`;
  return [
    { code: "packed-tensors", severity: "error", message: "quantised weights cannot be compared", file: path, found, expected: "floating-point weights" },
  ];
}

/** In what `other` differs from `first`, one diagnostic of each kind. */
function differences(first: Checkpoint, other: Checkpoint): Diagnostic[] {
  return [architecture(first, other), layers(first, other), vocabulary(first, other), shapes(first, other), missing(first, other)].filter(
    (problem) => problem !== undefined,
  );
}

const REMEDY = "compare models of one architecture and size";

function architecture(first: Checkpoint, other: Checkpoint): Diagnostic | undefined {
  const kind = ({ config }: Checkpoint) => (typeof config?.model_type === "string" ? config.model_type : undefined);
  const [expected, found] = [kind(first), kind(other)];
  if (expected === undefined || found === undefined || expected === found) return undefined;
  return problem("architecture-differs", "the models are of different architectures", first, other, found, expected);
}

function layers(first: Checkpoint, other: Checkpoint): Diagnostic | undefined {
  const [a, b] = [layerStacks(first.tensors.keys()), layerStacks(other.tensors.keys())];
  const stack = [...a.keys()].find((prefix) => b.has(prefix) && a.get(prefix) !== b.get(prefix));
  if (stack === undefined) return undefined;
  const count = (n: number | undefined) => `${n} layers under ${stack}`;
  return problem("layer-count-differs", "the models have different numbers of layers", first, other, count(b.get(stack)), count(a.get(stack)));
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((size, i) => size === b[i]);
const write = ({ name, shape }: TensorEntry): string => `${name} of shape [${shape.join(", ")}]`;

/** Entries of both models whose shapes differ. */
function misshapen(first: Checkpoint, other: Checkpoint): [TensorEntry, TensorEntry][] {
  return [...first.tensors.values()].flatMap((entry): [TensorEntry, TensorEntry][] => {
    const twin = other.tensors.get(entry.name);
    return twin === undefined || sameShape(entry.shape, twin.shape) ? [] : [[entry, twin]];
  });
}

/** Embeddings and heads of one width but of other lengths. */
function isVocabulary([a, b]: readonly [TensorEntry, TensorEntry]): boolean {
  const { role } = placeOf(a.name);
  return (role === "embedding" || role === "head") && a.shape.length === 2 && b.shape.length === 2 && a.shape[1] === b.shape[1];
}

function vocabulary(first: Checkpoint, other: Checkpoint): Diagnostic | undefined {
  const odd = misshapen(first, other).filter(isVocabulary);
  return differing("vocabulary-differs", "the models have vocabularies of different sizes", first, other, odd);
}

function shapes(first: Checkpoint, other: Checkpoint): Diagnostic | undefined {
  const odd = misshapen(first, other).filter((pair) => !isVocabulary(pair));
  return differing("shapes-differ", "tensors have different shapes", first, other, odd);
}

function differing(
  code: string,
  message: string,
  first: Checkpoint,
  other: Checkpoint,
  odd: readonly (readonly [TensorEntry, TensorEntry])[],
): Diagnostic | undefined {
  const [example] = odd;
  return example && problem(code, message, first, other, write(example[1]), write(example[0]), odd.length);
}

/** Tensors that only one of the two has. A tied head and computed buffers may be missing. */
function missing(first: Checkpoint, other: Checkpoint): Diagnostic | undefined {
  const lacks = (a: Checkpoint, b: Checkpoint) =>
    [...a.tensors.values()].filter(({ name }) => !b.tensors.has(name) && !BUFFER.test(name) && placeOf(name).role !== "head");
  const [gone, extra] = [lacks(first, other), lacks(other, first)];
  const [example] = [...gone, ...extra];
  if (example === undefined) return undefined;
  const [found, expected] = gone.length > 0 ? [`no ${example.name}`, write(example)] : [write(example), "no such tensor"];
  return problem("tensor-missing", "the models do not hold the same tensors", first, other, found, expected, gone.length + extra.length);
}

function problem(code: string, message: string, first: Checkpoint, other: Checkpoint, found: string, expected: string, count = 1): Diagnostic {
  const notes = count > 1 ? [`the first of ${count} differences`] : [];
  return { code, severity: "error", message, file: other.path, found, expected: `${expected}, as in ${first.path}`, remedy: REMEDY, notes };
}
