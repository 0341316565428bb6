// Matched tensors -> jobs without places: dtype of the result, inputs with their parameters, what is only copied.
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { isConv1d } from "../checkpoints/conv1d.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { DTYPE_BYTES, type DType, elementCount, type FloatDType, isFloat } from "../formats/dtypes.ts";
import type { MergeInput, ParameterSpec } from "../methods/method.ts";
import type { ParameterSettings, Recipe } from "../recipe/recipe.ts";
import { legalValues, type ParameterProblem, resolveParameters } from "../recipe/resolve-parameters.ts";
import type { Treatment } from "../recipe/treatment.ts";
import type { FoundStatistics } from "./find-statistics.ts";
import type { MatchedTensor } from "./match-inputs.ts";
import { type FoundPart, type OutputTensor, type Part, primaryOf } from "./parts.ts";
import type { CopyJob, InputRef, MergeJob, TensorRef } from "./plan.ts";
import { treatmentFor } from "./treat-tensors.ts";

type Unplaced<T> = Omit<T, "shard" | "offset">;
export type UnplacedJob = Unplaced<MergeJob> | Unplaced<CopyJob>;

/** Jobs in the order of the tensors. Parameters that cannot be used are told once each. */
export function buildJobs(
  recipe: Recipe,
  matched: readonly MatchedTensor[],
  statistics: ReadonlyMap<MatchedTensor, FoundStatistics>,
  report: (d: Diagnostic) => void,
): UnplacedJob[] {
  const told = new Set<string>();
  const once = (key: string, d: Diagnostic) => {
    if (!told.has(key)) report(d);
    told.add(key);
  };
  return matched.map((tensor) => buildJob(recipe, tensor, statistics.get(tensor), once));
}

type ReportOnce = (key: string, d: Diagnostic) => void;

function buildJob(recipe: Recipe, tensor: MatchedTensor, statistics: FoundStatistics | undefined, report: ReportOnce): UnplacedJob {
  const { parts, output, shape } = tensor;
  const treatment = treatmentFor(recipe, output);
  const { method } = treatment;
  const primary = primaryOf(parts);
  if (primary === undefined) throw new TypeError(`tensor ${output.name} has no inputs`);
  const dtype = outputDType(recipe, primary.entry.dtype);
  const place = { name: output.name, shape, byteLength: elementCount(shape) * DTYPE_BYTES[dtype] };
  if (tensor.copy) return { kind: "copy", ...place, dtype: primary.entry.dtype, byteLength: primary.entry.byteLength, source: reference(primary.entry, shape) };
  const inputs = parts.map((part, i) => ({ ...inputOf(recipe, treatment, tensor, part, i, report), ...statistics?.[i] }));
  const parameters = resolve(recipe, treatment, tensor, undefined, report);
  checkTask(recipe, treatment, tensor, inputs, parameters, report);
  if (!isFloat(dtype)) throw new TypeError(`tensor ${output.name} is not floating point`);
  const [input] = inputs;
  const untouched =
    method.id === "passthrough" &&
    !parameters.noise &&
    (input?.parameters.scale ?? null) === null &&
    input?.dtype === dtype &&
    input.lora === undefined &&
    input.rows === undefined;
  if (untouched) return { kind: "copy", ...place, dtype, source: reference(primary.entry, shape) };
  const turned = method.kind === "matrix" && method.data === undefined && isConv1d(primary.entry.name, primary.checkpoint);
  return { kind: "merge", ...place, dtype, method: method.id, inputs, parameters, ...(turned ? { inputsAlongRows: true as const } : {}) };
}

/** Only floats are converted; unset, the base's dtype stays. */
function outputDType({ outDtype, dtype }: Recipe, stored: DType): DType {
  return isFloat(stored) ? (outDtype ?? dtype ?? stored) : stored;
}

/** The leading rows of a tensor that make up `shape`: all of it unless it is cropped. */
function reference({ name, file, offset, dtype }: TensorEntry, shape: readonly number[]): TensorRef {
  return { name, file, offset, byteLength: elementCount(shape) * DTYPE_BYTES[dtype], dtype, shape };
}

function inputOf(recipe: Recipe, treatment: Treatment, tensor: MatchedTensor, part: FoundPart, index: number, report: ReportOnce): InputRef {
  const dtype = part.entry.dtype as FloatDType;
  const parameters = resolve(recipe, treatment, tensor, part, report);
  const { source, modelIndex } = part;
  const lora = part.entry.lora === undefined ? {} : { lora: part.entry.lora };
  const rows = tensor.rows?.[index];
  const place = rows === undefined ? reference(part.entry, tensor.shape) : { ...reference(part.entry, part.entry.shape), rows };
  return { ...place, ...lora, dtype, model: source.model.text, modelIndex, isBase: source.isBase, parameters };
}

/** Parameters of one input, or without a part those of the whole merge. */
function resolve(
  recipe: Recipe,
  treatment: Treatment,
  { output }: MatchedTensor,
  part: FoundPart | undefined,
  report: ReportOnce,
): Readonly<Record<string, number | null>> {
  const { method } = treatment;
  const specs = method.parameters.filter(({ scope }) => scope === (part === undefined ? "global" : "model"));
  const levels = parameterLevels(recipe, treatment, output, part);
  const optional = part?.source.isBase === true && method.base !== "none";
  const { values, problems } = resolveParameters(specs, levels, part?.name ?? output.name, output.position, optional);
  for (const problem of problems) report(`${problem.spec.name} ${part?.modelIndex}`, parameterDiagnostic(recipe, treatment, output.name, part, problem));
  return values;
}

/** Where values for a tensor (and one of its inputs) are looked for, by falling precedence. */
export function parameterLevels(recipe: Recipe, treatment: Treatment, output: OutputTensor, part: Part | undefined): readonly ParameterSettings[] {
  if (output.kept === true) return [];
  const first = treatment.parameters === undefined ? [] : [treatment.parameters];
  return [...first, ...(part === undefined ? [] : [part.source.parameters]), output.slice.parameters, output.module.parameters, recipe.parameters];
}

function parameterDiagnostic(recipe: Recipe, treatment: Treatment, tensor: string, part: FoundPart | undefined, { spec, value }: ParameterProblem): Diagnostic {
  const place = { severity: "error", file: recipe.file, range: treatment.override?.range ?? part?.source.range ?? recipe.methodRange } as const;
  const whose = part === undefined ? "" : ` of ${part.source.model.text}`;
  const legal = legalValues(spec);
  if (value !== undefined)
    return {
      code: "parameter-range",
      ...place,
      message: `${spec.name}${whose} is out of its range at tensor ${tensor}`,
      found: String(value),
      expected: legal,
    };
  const message = `no condition gives ${spec.name}${whose} a value at tensor ${tensor}`;
  return { code: "missing-parameter", ...place, message, expected: legal, remedy: "add a condition without a filter" };
}

function checkTask(
  recipe: Recipe,
  { method, methodRange }: Treatment,
  { output, shape }: MatchedTensor,
  refs: readonly InputRef[],
  parameters: MergeJob["parameters"],
  report: ReportOnce,
): void {
  // What has no usable value has been reported; the base may lack what the others need.
  const unresolved = ({ name, scope, default: usual }: ParameterSpec) =>
    scope === "global" ? !(name in parameters) : refs.some((ref) => !(name in ref.parameters) && !(ref.isBase && usual === undefined));
  if (method.check === undefined || method.parameters.some(unresolved)) return;
  const inputs: MergeInput[] = refs.map(({ model, modelIndex, isBase, parameters }, index) => ({ index, model, modelIndex, isBase, parameters }));
  const task = { name: output.name, shape, inputs, base: inputs.find((i) => i.isBase), others: inputs.filter((i) => !i.isBase), parameters };
  const problem = method.check(task);
  if (problem !== undefined)
    report(problem.code, { severity: "error", file: recipe.file, range: methodRange, notes: [`at tensor ${output.name}`], ...problem });
}
