// Model references: `path[@revision][+adapter[@revision]]`. A path that itself holds + or @ needs the map form.
import type { SourceRange } from "../diagnostics.ts";
import type { ModelReference } from "./recipe.ts";

/** The parts of a reference, or undefined if there is more than one + or more than one @ in a part, or an empty part. */
export function parseModelReference(text: string): Omit<ModelReference, "range"> | undefined {
  const [model, adapter, ...rest] = text.split("+");
  const path = parsePart(model ?? "");
  const lora = adapter === undefined ? undefined : parsePart(adapter);
  if (rest.length > 0 || path === undefined || (adapter !== undefined && lora === undefined)) return undefined;
  return { text, ...path, ...(lora === undefined ? {} : { lora }) };
}

function parsePart(text: string): { path: string; revision?: string } | undefined {
  const [path, revision, ...rest] = text.split("@");
  if (path === undefined || path === "" || revision === "" || rest.length > 0) return undefined;
  return revision === undefined ? { path } : { path, revision };
}

/** The reference of a map `{model: {path, revision}, lora: {path, revision}}`; here + and @ in a path are ordinary letters. */
export function modelReference(
  model: { path: string; revision?: string },
  lora: { path: string; revision?: string } | undefined,
  range: SourceRange,
): ModelReference {
  const write = (part: { path: string; revision?: string }) => (part.revision === undefined ? part.path : `${part.path}@${part.revision}`);
  const text = lora === undefined ? write(model) : `${write(model)}+${write(lora)}`;
  return { text, ...model, ...(lora === undefined ? {} : { lora }), range };
}
