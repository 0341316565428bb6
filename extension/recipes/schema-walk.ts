// What the recipe schema says about a place: one description serves the schema file, completion and hover.
import { recipeJsonSchema } from "../../merge-core/recipe/schema.ts";

export interface SchemaNode {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, SchemaNode | true>>;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly oneOf?: readonly SchemaNode[];
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly type?: string | readonly string[];
  readonly $ref?: string;
  readonly definitions?: Readonly<Record<string, SchemaNode>>;
}

const ROOT = recipeJsonSchema() as SchemaNode;

/** All schemas that may hold at a path; `[]` stands for an item of a list. */
export function schemasAt(path: readonly string[]): SchemaNode[] {
  return path.reduce((nodes, step) => nodes.flatMap((node) => stepInto(node, step)).flatMap(unfold), unfold(ROOT));
}

/** Whether a schema is a model reference. */
export const REFERENCE = ROOT.definitions?.reference;

/** A node with what it refers to or chooses from in its place. The description of a reference goes before that of its target. */
function unfold(node: SchemaNode): SchemaNode[] {
  if (node.$ref !== undefined) {
    const target = ROOT.definitions?.[node.$ref.replace("#/definitions/", "")];
    if (target === undefined) return [];
    const described = node.description === undefined ? target : { ...target, description: node.description };
    return [described, ...(target.oneOf ?? []).flatMap(unfold)];
  }
  return [node, ...(node.oneOf ?? []).flatMap(unfold)];
}

function stepInto(node: SchemaNode, step: string): SchemaNode[] {
  if (step === "[]") return node.items === undefined ? [] : [node.items];
  const property = node.properties?.[step];
  if (typeof property === "object") return [property];
  return typeof node.additionalProperties === "object" ? [node.additionalProperties] : [];
}

/** Keys that may stand at a path, with their descriptions. */
export function keysAt(path: readonly string[]): Map<string, string> {
  const keys = new Map<string, string>();
  for (const node of schemasAt(path))
    for (const [key, property] of Object.entries(node.properties ?? {})) {
      const [described] = property === true ? [] : unfold(property);
      if (!keys.has(key)) keys.set(key, described?.description ?? "");
    }
  return keys;
}

/** Fixed values that may stand at a path, with their descriptions. */
export function valuesAt(path: readonly string[]): Map<string, string> {
  const values = new Map<string, string>();
  for (const node of schemasAt(path)) {
    for (const value of node.enum ?? []) values.set(value, "");
    if (node.const !== undefined) values.set(node.const, node.description ?? "");
    if ([node.type].flat().includes("boolean")) for (const value of ["true", "false"]) values.set(value, "");
  }
  return values;
}

/** Whether a model is named at a path. */
export function isModelAt(path: readonly string[]): boolean {
  return schemasAt(path).some((node) => node.oneOf !== undefined && node.oneOf === REFERENCE?.oneOf);
}
