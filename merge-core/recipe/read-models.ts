// The three layouts of a recipe's inputs (models, slices, modules), brought into one.
import { isMap, isScalar, type Node } from "yaml";
import type { SourceRange } from "../diagnostics.ts";
import { type MergeMethod, STATISTICS_KINDS, type StatisticsKind } from "../methods/method.ts";
import { modelReference, parseModelReference } from "./model-reference.ts";
import { readParameters } from "./read-parameters.ts";
import { describe, type Field, type Fields, type KnownKeys, numberIn, type Reader } from "./reader.ts";
import type { ModelReference, RecipeModule, RecipeSlice, RecipeSource } from "./recipe.ts";

export const LAYOUTS = ["models", "slices", "modules"] as const;

const parameterHint = (key: string) => (["weight", "density", "scale", "t"].includes(key) ? `write ${key} under parameters:` : undefined);
const MODEL_KEYS: KnownKeys = { keys: ["model", ...STATISTICS_KINDS, "parameters"], hint: parameterHint };
const SOURCE_KEYS: KnownKeys = { keys: ["model", "layer_range", ...STATISTICS_KINDS, "parameters"], hint: parameterHint };
const SLICE_KEYS: KnownKeys = {
  keys: ["sources", "base_model", "parameters"],
  ignored: { residual_weight: "mergekit accepts this key and never reads it" },
  hint: parameterHint,
};
const MODULE_KEYS: KnownKeys = { keys: ["models", "slices", "parameters"], hint: parameterHint };

/** What the readers of inputs need to know of the rest of the recipe. */
export interface InputContext {
  readonly reader: Reader;
  /** Undefined if the recipe names no known method. */
  readonly method: MergeMethod | undefined;
  readonly base: ModelReference | undefined;
  /** Some tensors are merged by a method that has use for a base. */
  readonly needsBase: boolean;
}

/** The recipe's modules, from the one of `LAYOUTS` that it has. */
export function readInputs(context: InputContext, layout: Field): RecipeModule[] {
  const { value, keyRange } = layout;
  if (layout.key === "modules") {
    const entries = [...(context.reader.entries(value, "modules", keyRange)?.values() ?? [])];
    if (entries.length === 0 && isMap(value)) context.reader.report("empty-list", "modules is empty", keyRange, { expected: "at least one module" });
    return entries.flatMap((entry) => readModule(context, entry));
  }
  const slices = readLayout(context, layout);
  return slices.length === 0 ? [] : [{ name: "default", slices, parameters: new Map(), range: keyRange }];
}

function readModule(context: InputContext, entry: Field): RecipeModule[] {
  const { reader, method } = context;
  const fields = reader.fields(entry.value, `module ${entry.key}`, entry.keyRange, MODULE_KEYS);
  const layout = fields && exactlyOne(reader, fields, ["models", "slices"], `module ${entry.key}`, entry.keyRange);
  if (fields === undefined || layout === undefined) return [];
  const slices = readLayout(context, layout);
  return [{ name: entry.key, slices, parameters: readParameters(reader, fields.get("parameters"), method, "above"), range: entry.keyRange }];
}

/** The one of `keys` that is there; reports unless it is exactly one. Beside a key with a value, keys without one do not count. */
export function exactlyOne(reader: Reader, fields: Fields, keys: readonly string[], what: string, place: SourceRange): Field | undefined {
  const named = keys.flatMap((key) => fields.get(key) ?? []);
  const filled = named.filter(({ value }) => value !== undefined);
  const present = filled.length > 0 ? filled : named;
  if (present.length === 1) return present[0];
  const list = keys.join(", ");
  reader.report("one-of-inputs", `${what} must have exactly one of ${list}`, present[1]?.keyRange ?? place, {
    found: present.map(({ key }) => key).join(" and ") || "none",
    expected: `one of ${list}`,
  });
  return undefined;
}

/** The slices of `models` or of `slices`. */
function readLayout(context: InputContext, { key, value, keyRange }: Field): RecipeSlice[] {
  const nodes = context.reader.list(value, key, keyRange) ?? [];
  if (key === "slices") return nodes.flatMap((node) => readSlice(context, node, keyRange));
  const sources = nodes.flatMap((node) => readSource(context, node, keyRange, false, context.base));
  return sources.length === 0 ? [] : [{ sources: withBase(context, sources, context.base), parameters: new Map(), range: keyRange }];
}

function readSlice(context: InputContext, node: Node, place: SourceRange): RecipeSlice[] {
  const { reader, method } = context;
  const fields = reader.fields(node, "a slice", place, SLICE_KEYS);
  if (fields === undefined) return [];
  const parameters = readParameters(reader, fields.get("parameters"), method, "above");
  const ownBase = fields.get("base_model");
  const base = ownBase === undefined ? context.base : readReference(reader, ownBase.value, "base_model", ownBase.keyRange);
  const list = fields.get("sources");
  if (list === undefined) {
    reader.report("missing-key", "a slice has no sources", reader.rangeOf(node), { expected: "sources: a list of model and layer_range" });
    return [];
  }
  const sources = (reader.list(list.value, "sources", list.keyRange) ?? []).flatMap((source) => readSource(context, source, list.keyRange, true, base));
  checkLengths(reader, sources);
  return sources.length === 0 ? [] : [{ sources: withBase(context, sources, base), parameters, range: list.keyRange }];
}

function checkLengths(reader: Reader, sources: readonly RecipeSource[]): void {
  const length = ({ layers }: RecipeSource) => (layers === undefined ? 0 : layers[1] - layers[0]);
  const [first] = sources;
  for (const source of sources) {
    if (first === undefined || length(source) === length(first)) continue;
    reader.report("layer-range", "the sources of a slice have different numbers of layers", source.range, {
      found: `${length(source)} layers of ${source.model.text}`,
      expected: `${length(first)}, as of ${first.model.text}`,
    });
  }
}

function readSource(context: InputContext, node: Node, place: SourceRange, layered: boolean, base: ModelReference | undefined): RecipeSource[] {
  const { reader, method } = context;
  const what = layered ? "a source" : "an entry of models";
  const fields = reader.fields(node, what, place, layered ? SOURCE_KEYS : MODEL_KEYS);
  if (fields === undefined) return [];
  const mention = fields.get("model");
  if (mention === undefined) reader.report("missing-key", `${what} names no model`, reader.rangeOf(node), { expected: "model: a path" });
  const model = mention === undefined ? undefined : readReference(reader, mention.value, "model", mention.keyRange);
  const layers = layered ? readLayers(reader, fields.get("layer_range"), reader.rangeOf(node)) : undefined;
  const parameters = readParameters(reader, fields.get("parameters"), method, "source");
  const statistics = readStatistics(reader, fields);
  if (model === undefined || (layered && layers === undefined)) return [];
  return [{ model, isBase: model.text === base?.text, layers, parameters, ...(statistics.size > 0 && { statistics }), range: model.range }];
}

function readStatistics(reader: Reader, fields: Fields): Map<StatisticsKind, ModelReference> {
  const found = new Map<StatisticsKind, ModelReference>();
  for (const kind of STATISTICS_KINDS) {
    const field = fields.get(kind);
    const reference = field === undefined ? undefined : readReference(reader, field.value, kind, field.keyRange);
    if (reference !== undefined) found.set(kind, reference);
  }
  return found;
}

function readLayers(reader: Reader, field: Field | undefined, place: SourceRange): [number, number] | undefined {
  const remedy = "write layer_range: [first, last + 1]";
  if (field === undefined) {
    reader.report("missing-key", "a source of a slice has no layer_range", place, { expected: "layer_range: [first, last + 1]" });
    return undefined;
  }
  const nodes = reader.list(field.value, "layer_range", field.keyRange);
  if (nodes === undefined || nodes.length === 0) return undefined;
  const [first, end, ...rest] = nodes.map(numberIn);
  const range = field.value === undefined ? field.keyRange : reader.rangeOf(field.value);
  const legal = first !== undefined && end !== undefined && rest.length === 0 && Number.isInteger(first) && Number.isInteger(end) && first >= 0 && end > first;
  if (legal) return [first, end];
  reader.report("layer-range", "layer_range is not a range of layers", range, {
    found: `[${nodes.map(describe).join(", ")}]`,
    expected: "two whole numbers, 0 <= first < end, the end not included",
    remedy,
  });
  return undefined;
}

/** Adds the base as one more source where the method needs it and the list lacks it; marks only its first mention as the base. */
function withBase({ needsBase }: InputContext, sources: readonly RecipeSource[], base: ModelReference | undefined): RecipeSource[] {
  const place = sources.findIndex(({ isBase }) => isBase);
  const marked = sources.map((source, i) => ({ ...source, isBase: i === place }));
  if (base === undefined || place >= 0 || !needsBase) return marked;
  return [...marked, { model: base, isBase: true, implied: true, layers: sources[0]?.layers, parameters: new Map(), range: base.range }];
}

/** A model reference in its text or its map form. */
export function readReference(reader: Reader, node: Node | undefined, what: string, place: SourceRange): ModelReference | undefined {
  if (isMap(node)) return readReferenceMap(reader, node, what, place);
  const text = reader.text(node, what, place);
  if (text === undefined || node === undefined) return undefined;
  const reference = parseModelReference(text);
  if (reference !== undefined && isScalar(node)) return { ...reference, range: reader.rangeOf(node) };
  reader.report("model-reference", "this is not a model reference", reader.rangeOf(node), {
    found: text,
    expected: "path, path@revision, path+adapter",
    remedy: "for a path that holds + or @ write model: {model: {path: ...}}",
  });
  return undefined;
}

function readReferenceMap(reader: Reader, node: Node, what: string, place: SourceRange): ModelReference | undefined {
  const ignored = { override_architecture: "tensors are matched by name here, whatever the architecture" };
  const fields = reader.fields(node, what, place, { keys: ["model", "lora"], ignored });
  const part = (key: "model" | "lora") => {
    const field = fields?.get(key);
    if (field?.value === undefined) return undefined;
    if (isScalar(field.value)) return parseModelReference(String(field.value.value));
    const parts = reader.fields(field.value, key, field.keyRange, { keys: ["path", "revision"] });
    const path = parts?.get("path");
    const revision = parts?.get("revision");
    const pathText = path === undefined ? undefined : reader.text(path.value, "path", path.keyRange);
    if (pathText === undefined) return undefined;
    const revisionText = revision?.value === undefined ? undefined : reader.text(revision.value, "revision", revision.keyRange);
    return revisionText === undefined ? { path: pathText } : { path: pathText, revision: revisionText };
  };
  const model = part("model");
  if (model !== undefined) return modelReference(model, part("lora"), reader.rangeOf(node));
  if (!reader.failed) reader.report("missing-key", `${what} names no path`, reader.rangeOf(node), { expected: "{model: {path: ...}}" });
  return undefined;
}
