// Completion of recipes as a pure function of text and place; what models and tensors there are comes in from outside.
import { findMethod } from "../../merge-core/methods/registry.ts";
import { methodText, parameterText } from "./describe.ts";
import { type Place, placeAt } from "./place.ts";
import { isModelAt, keysAt, valuesAt } from "./schema-walk.ts";

export interface Proposal {
  readonly label: string;
  readonly kind: "key" | "method" | "parameter" | "value" | "model" | "filter";
  /** What is inserted in place of [start, offset). */
  readonly text: string;
  readonly detail?: string;
  /** Markdown. */
  readonly documentation?: string;
}

/** What of the outside world completion knows. */
export interface RecipeFacts {
  /** Models in reach, as a recipe beside them would name them, with a line about each. */
  readonly models: readonly { readonly reference: string; readonly detail: string }[];
  /** Parts of tensor names of the models that the recipe names. */
  readonly filters: readonly string[];
}

export interface Completion {
  readonly start: number;
  readonly proposals: readonly Proposal[];
}

/** The method a recipe names, however broken the rest is. */
export function methodIn(text: string): string | undefined {
  return /^merge_method\s*:\s*["']?([\w-]+)/m.exec(text)?.[1];
}

/** Proposals at a place; the editor filters them by what is typed. */
export function completeRecipe(text: string, offset: number, facts: RecipeFacts): Completion {
  const place = placeAt(text, offset);
  if (place === undefined) return { start: offset, proposals: [] };
  const proposals = place.kind === "key" ? keyProposals(place, text) : valueProposals(place, text, facts);
  return { start: place.start, proposals };
}

const OPENS_LIST = ["models", "slices", "sources"];
const OPENS_MAP = ["parameters", "modules", "tokenizer", "tokens", "lora"];

function keyProposals({ path }: Place, text: string): Proposal[] {
  const method = findMethod(methodIn(text) ?? "");
  const inParameters = path.at(-1) === "parameters";
  const inModel = path.some((step) => step === "models" || step === "sources");
  if (inParameters && method !== undefined) {
    const specs = method.parameters.filter((spec) => spec.scope === "model" || !inModel);
    return specs.map((spec) => ({ label: spec.name, kind: "parameter", text: `${spec.name}: `, detail: method.id, documentation: parameterText(spec) }));
  }
  return [...keysAt(path)].map(([key, description]) => ({ label: key, kind: "key", text: `${key}:${after(key, path)}`, documentation: description }));
}

/** A key that opens a list or a map goes on in the next line, two columns further in. */
function after(key: string, path: readonly string[]): string {
  const indent = " ".repeat(2 * path.filter((step) => step !== "[]").length + (path.includes("[]") ? 2 * path.filter((step) => step === "[]").length : 0) + 2);
  if (OPENS_LIST.includes(key)) return `\n${indent}- `;
  return OPENS_MAP.includes(key) ? `\n${indent}` : " ";
}

function valueProposals({ path, key }: Place, text: string, facts: RecipeFacts): Proposal[] {
  const full = [...path, key];
  if (path.length === 0 && key === "merge_method") return [...valuesAt(full).keys()].map(methodProposal);
  if (key === "filter") return facts.filters.map((filter) => ({ label: filter, kind: "filter", text: filter, detail: "part of tensor names" }));
  const fixed = fixedValues(full, key, text);
  const models = isModelAt(full) || key === "path" ? facts.models : [];
  return [...fixed, ...models.map(({ reference, detail }): Proposal => ({ label: reference, kind: "model", text: reference, detail }))];
}

/** Flags of the method as true and false; a number has no proposals but its default. */
function fixedValues(full: readonly string[], key: string, text: string): Proposal[] {
  const spec = full.at(-2) === "parameters" ? findMethod(methodIn(text) ?? "")?.parameters.find(({ name }) => name === key) : undefined;
  if (spec !== undefined && spec.type !== "flag")
    return typeof spec.default === "number" ? [{ label: String(spec.default), kind: "value", text: String(spec.default), detail: "default" }] : [];
  return [...valuesAt(full)].map(([value, description]) => ({ label: value, kind: "value", text: value, documentation: description }));
}

function methodProposal(id: string): Proposal {
  const method = findMethod(id);
  return method === undefined
    ? { label: id, kind: "method", text: id }
    : { label: id, kind: "method", text: id, detail: method.title, documentation: methodText(method) };
}

/** Words in tensor names that a filter would use: the parts after the layer index, most frequent first. */
export function filterWords(names: Iterable<string>): string[] {
  const counts = new Map<string, number>();
  for (const name of names)
    for (const part of new Set(name.split("."))) if (!/^\d+$/.test(part) && part !== "weight" && part !== "bias") counts.set(part, (counts.get(part) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([part]) => part);
}
