// What to say about the word under the pointer, as Markdown; pure.
import { findMethod } from "../../merge-core/methods/registry.ts";
import { evaluateParameter, layerPosition } from "../../merge-core/recipe/evaluate-parameter.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import type { ParameterSetting, ParameterSettings, Recipe } from "../../merge-core/recipe/recipe.ts";
import { methodIn } from "./complete.ts";
import { methodText, parameterText } from "./describe.ts";
import { placeAt } from "./place.ts";
import { isModelAt, schemasAt } from "./schema-walk.ts";

export interface HoverFacts {
  /** A line about a model that the recipe names, from its headers; undefined if it cannot be read. */
  model(reference: string): Promise<string | undefined>;
  /** Layers of the first model that can be read. */
  layers(): Promise<number | undefined>;
}

/** Text about the word around `offset`, with the word's extent. */
export async function hoverRecipe(text: string, offset: number, facts: HoverFacts): Promise<{ start: number; end: number; text: string } | undefined> {
  const word = wordAt(text, offset);
  const place = word && placeAt(text, word.end);
  if (word === undefined || place === undefined) return undefined;
  const about = place.kind === "key" ? await aboutKey(text, word, place.path, facts) : await aboutValue(word.text, [...place.path, place.key], facts);
  return about === undefined || about === "" ? undefined : { start: word.start, end: word.end, text: about };
}

interface Word {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** The run of letters that keys, names and paths are made of. */
function wordAt(text: string, offset: number): Word | undefined {
  const isPart = (i: number) => /[\w./@+~-]/.test(text[i] ?? "");
  let start = offset;
  while (start > 0 && isPart(start - 1)) start--;
  let end = offset;
  while (end < text.length && isPart(end)) end++;
  return start === end ? undefined : { text: text.slice(start, end), start, end };
}

async function aboutValue(word: string, path: readonly string[], facts: HoverFacts): Promise<string | undefined> {
  if (path.join() === "merge_method") {
    const method = findMethod(word);
    return method && methodText(method);
  }
  return isModelAt(path) || path.at(-1) === "path" ? facts.model(word) : undefined;
}

async function aboutKey(text: string, word: Word, path: readonly string[], facts: HoverFacts): Promise<string | undefined> {
  const spec = path.at(-1) === "parameters" ? findMethod(methodIn(text) ?? "")?.parameters.find(({ name }) => name === word.text) : undefined;
  if (spec === undefined) return schemasAt([...path, word.text]).find(({ description }) => description !== undefined)?.description;
  const { recipe } = parseRecipe(text, "recipe");
  const setting = recipe && settingAt(recipe, spec.name, word.start);
  const layers = setting === undefined ? undefined : await facts.layers();
  return [parameterText(spec), setting === undefined || layers === undefined ? "" : layerValues(setting, layers, spec.type === "flag")]
    .filter(Boolean)
    .join("\n\n");
}

/** The setting whose key stands at this offset. */
function settingAt(recipe: Recipe, name: string, keyStart: number): ParameterSetting | undefined {
  const levels: ParameterSettings[] = [
    recipe.parameters,
    ...recipe.modules.flatMap((m) => [m.parameters, ...m.slices.flatMap((s) => [s.parameters, ...s.sources.map((source) => source.parameters)])]),
  ];
  return levels.flatMap((level) => level.get(name) ?? []).find(({ range }) => range.offset === keyStart);
}

/** What a setting, of a flag or of a number, comes to in each layer, equal neighbours joined; one line per filter. */
function layerValues(setting: ParameterSetting, layers: number, isFlag: boolean): string {
  const lines = setting.conditions.map((condition) => {
    const { filter } = condition;
    const name = filter === undefined || filter === "*" ? "any" : filter;
    // No name is known that fits a pattern, so its own values are shown.
    const shown = /^(glob|re):/.test(name) ? { ...setting, conditions: [{ ...condition, filter: undefined, exclude: [] }] } : setting;
    const values = Array.from({ length: layers }, (_, i) => evaluateParameter(shown, name === "any" ? "" : name, layerPosition(i, layers), isFlag));
    return `| ${name === "any" ? "all tensors" : `names with \`${name}\``} | ${runs(values)} |`;
  });
  return ["| Value by layer | |", "| --- | --- |", ...lines].join("\n");
}

function runs(values: readonly (number | undefined)[]): string {
  const shown = values.map((value) => (value === undefined ? "unset" : String(Number(value.toPrecision(4)))));
  const starts = shown.flatMap((value, i) => (i === 0 || shown[i - 1] !== value ? [i] : []));
  return starts
    .map((start, k) => {
      const end = (starts[k + 1] ?? shown.length) - 1;
      return `${start === end ? start : `${start}-${end}`}: ${shown[start]}`;
    })
    .join(", ");
}
