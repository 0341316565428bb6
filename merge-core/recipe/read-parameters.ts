// The `parameters` maps of a recipe: names known to the method, values as numbers, gradients or conditions on tensor names.
import { isMap, isSeq, type Node } from "yaml";
import { nearestName, type SourceRange } from "../diagnostics.ts";
import type { MergeMethod, ParameterSpec } from "../methods/method.ts";
import { methods } from "../methods/registry.ts";
import { FILTER_KEYS, readFilter } from "./read-filter.ts";
import { describe, type Field, flagIn, type KnownKeys, numberIn, type Reader, suggestion } from "./reader.ts";
import type { Condition, ParameterSetting, ParameterSettings } from "./recipe.ts";
import { isLegal, legalValues } from "./resolve-parameters.ts";

/** Parameters of former versions of merging tools, still found in recipes. */
const FORMER = new Set(["embed_slerp"]);

/** `undefined` method: its name was wrong and has been reported, so parameters of any method pass. */
export function readParameters(reader: Reader, field: Field | undefined, method: MergeMethod | undefined, level: "source" | "above"): ParameterSettings {
  const settings = new Map<string, ParameterSetting>();
  if (field?.value === undefined) return settings;
  for (const entry of reader.entries(field.value, "parameters", field.keyRange)?.values() ?? []) {
    const spec = findSpec(reader, entry, method, level);
    const conditions = spec === undefined ? undefined : readSetting(reader, entry, spec);
    if (conditions !== undefined) settings.set(entry.key, { conditions, range: entry.keyRange });
  }
  return settings;
}

function findSpec(reader: Reader, { key, keyRange }: Field, method: MergeMethod | undefined, level: "source" | "above"): ParameterSpec | undefined {
  const anywhere = methods.flatMap((m) => m.parameters).find((p) => p.name === key);
  const spec = method === undefined ? anywhere : method.parameters.find((p) => p.name === key);
  const ignored = (note: string) => reader.report("ignored-parameter", `${key} has no effect here`, keyRange, { severity: "warning", notes: [note] });
  if (spec !== undefined) {
    if (level === "above" || spec.scope === "model") return spec;
    ignored(`${key} applies to all models together: write it under the parameters of the recipe or of a slice`);
  } else if (method === undefined) return undefined;
  else if (anywhere !== undefined || FORMER.has(key)) ignored(`${method.id} takes no ${key}`);
  else reportUnknown(reader, key, keyRange, method);
  return undefined;
}

function reportUnknown(reader: Reader, key: string, range: SourceRange, method: MergeMethod): void {
  const names = method.parameters.map((p) => p.name);
  const slip = nearestName(key, names) !== undefined;
  reader.report("unknown-parameter", `${method.id} has no parameter of this name${slip ? "" : ": it has no effect"}`, range, {
    severity: slip ? "error" : "warning",
    found: key,
    expected: names.join(", ") || "no parameters",
    ...suggestion(key, names, range),
  });
}

function readSetting(reader: Reader, { value, key, keyRange }: Field, spec: ParameterSpec): Condition[] | undefined {
  const isConditions = isMap(value) || (isSeq(value) && value.items.some((item) => isMap(item)));
  if (!isConditions) {
    const values = readValues(reader, value, key, keyRange, spec);
    return values === undefined ? undefined : [{ filter: undefined, values }];
  }
  const entries = isMap(value) ? [value] : (reader.list(value, key, keyRange) ?? []);
  const conditions = entries.map((entry) => readCondition(reader, entry, key, keyRange, spec));
  return conditions.every((condition) => condition !== undefined) ? conditions : undefined;
}

const CONDITION_KEYS: KnownKeys = {
  keys: [...FILTER_KEYS, "value"],
  ignored: { pattern: "without filter: the condition applies to all tensors; write filter: for part of a name, glob: or regex: for a pattern" },
};

function readCondition(reader: Reader, node: Node, name: string, place: SourceRange, spec: ParameterSpec): Condition | undefined {
  const fields = reader.fields(node, `a condition of ${name}`, place, CONDITION_KEYS);
  if (fields === undefined) return undefined;
  const filter = readFilter(reader, fields, `a condition of ${name}`);
  const value = fields.get("value");
  if (value === undefined) reader.report("missing-key", `a condition of ${name} has no value`, reader.rangeOf(node), { expected: "filter and value" });
  const values = value === undefined ? undefined : readValues(reader, value.value, name, value.keyRange, spec);
  return values === undefined ? undefined : { ...filter, values };
}

/** A number, or a list of them. */
function readValues(reader: Reader, node: Node | undefined, name: string, place: SourceRange, spec: ParameterSpec): number[] | undefined {
  const nodes = isSeq(node) ? reader.list(node, name, place) : [node];
  const values = nodes?.map((item) => readNumber(reader, item, name, place, spec));
  return values !== undefined && values.length > 0 && values.every((value) => value !== undefined) ? values : undefined;
}

function readNumber(reader: Reader, node: Node | undefined, name: string, place: SourceRange, spec: ParameterSpec): number | undefined {
  const value = spec.type === "flag" ? (flagIn(node) ?? numberIn(node)) : numberIn(node);
  const range = node === undefined ? place : reader.rangeOf(node);
  const details = { found: describe(node), expected: legalValues(spec) };
  if (value === undefined)
    reader.report("parameter-type", `${name} is not a number`, range, {
      ...details,
      remedy: "write a number, a list of numbers, or a list of {filter, value}",
    });
  else if (!Number.isFinite(value)) reader.report("parameter-not-finite", `${name} is not a finite number`, range, details);
  else if (isLegal(spec, value)) return value;
  else reader.report("parameter-range", `${name} is out of its range`, range, details);
  return undefined;
}
