// `overrides`, an extension: another method, other parameters or other models for some of the tensors.
import type { Node } from "yaml";
import type { SourceRange } from "../diagnostics.ts";
import type { MergeMethod } from "../methods/method.ts";
import { findMethod, methods } from "../methods/registry.ts";
import { FILTER_KEYS, readFilter } from "./read-filter.ts";
import { readReference } from "./read-models.ts";
import { readParameters } from "./read-parameters.ts";
import { type Field, type Reader, suggestion } from "./reader.ts";
import type { MethodOverride } from "./recipe.ts";

/** @param main the recipe's own method, which an override without one keeps */
export function readOverrides(reader: Reader, field: Field | undefined, main: MergeMethod | undefined): MethodOverride[] {
  if (field?.value === undefined) return [];
  return (reader.list(field.value, "overrides", field.keyRange) ?? []).flatMap((node) => readOverride(reader, node, field.keyRange, main));
}

function readOverride(reader: Reader, node: Node, place: SourceRange, main: MergeMethod | undefined): MethodOverride[] {
  const fields = reader.fields(node, "an override", place, { keys: [...FILTER_KEYS, "merge_method", "parameters", "models"] });
  if (fields === undefined) return [];
  const range = reader.rangeOf(node);
  const named = fields.get("merge_method");
  const method = named === undefined ? main : readMethod(reader, named, range);
  const parameters = readParameters(reader, fields.get("parameters"), method, "above");
  const list = fields.get("models");
  const nodes = list?.value === undefined ? undefined : (reader.list(list.value, "models", list.keyRange) ?? []);
  const models = nodes?.map((model) => readReference(reader, model, "model", list?.keyRange ?? range)).filter((model) => model !== undefined);
  const methodRange = named?.value === undefined ? range : reader.rangeOf(named.value);
  const filter = readFilter(reader, fields, "an override");
  return method === undefined ? [] : [{ ...filter, method, methodRange, parameters, models, range }];
}

/** The method that a key names. */
export function readMethod(reader: Reader, field: Field | undefined, start: SourceRange): MergeMethod | undefined {
  const names = methods.map(({ id }) => id);
  if (field === undefined) {
    reader.report("missing-key", "the recipe has no merge_method", start, { expected: names.join(", ") });
    return undefined;
  }
  const name = reader.text(field.value, "merge_method", field.keyRange);
  if (name === undefined || field.value === undefined) return undefined;
  const method = findMethod(name);
  const range = reader.rangeOf(field.value);
  if (method === undefined)
    reader.report("unknown-method", "there is no such merge method", range, { found: name, expected: names.join(", "), ...suggestion(name, names, range) });
  return method;
}
