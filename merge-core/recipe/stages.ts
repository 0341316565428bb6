// Files of several recipes (mergekit-multi): documents between `---` lines, each a merge; one names another by its `name`
// where it would name a model.
import { isMap, isScalar } from "yaml";
import type { Diagnostic, SourceRange } from "../diagnostics.ts";
import { type ParsedRecipe, parseRecipe } from "./parse-recipe.ts";
import type { Recipe } from "./recipe.ts";
import { parseYaml } from "./yaml-source.ts";

export interface Stage {
  /** What other stages call its result; absent for the one that makes the output. */
  readonly name: string | undefined;
  readonly recipe: Recipe;
}

export interface ParsedStages {
  /** In the order of the file; absent if any diagnostic is an error. */
  readonly stages?: readonly Stage[];
  /** The stage that makes the output: the one without a name, else the last. */
  readonly final?: Stage;
  readonly diagnostics: readonly Diagnostic[];
}

/** More than anyone has written by hand; each is planned, and may be kept on disk. */
const MAX_STAGES = 100;

/** Offsets of the documents that hold anything. A line that begins with `---` always begins a document: YAML allows it nowhere else. */
function documents(text: string): [number, number][] {
  const marks = [...text.matchAll(/^---(?=\s|$)/gm)].map(({ index }) => index);
  const starts = [0, ...marks.map((mark) => mark + 3)];
  const ranges = starts.map((start, i): [number, number] => [start, marks[i] ?? text.length]);
  return ranges.filter(([start, end]) => text.slice(start, end).split("\n").some(holdsYaml));
}

/** Whether a line is more than space, a comment, a directive or the end of a document. */
const holdsYaml = (line: string): boolean => /^[ \t]*[^#\s]/.test(line) && !/^(%|\.\.\.)/.test(line);

/** Whether a recipe's text holds several recipes. */
export function hasStages(text: string): boolean {
  return documents(text).length > 1;
}

/** Reads a file of one recipe or of several. Never throws on bad input. */
export function parseRecipeFile(text: string, file: string): ParsedStages {
  if (hasStages(text)) return parseStages(text, file);
  const { recipe, diagnostics } = parseRecipe(text, file);
  const final = recipe && { name: undefined, recipe };
  return final === undefined ? { diagnostics } : { stages: [final], final, diagnostics };
}

/** Reads all recipes of a file, with places counted in the whole file. Never throws on bad input. */
export function parseStages(text: string, file: string): ParsedStages {
  const ranges = documents(text);
  if (ranges.length > MAX_STAGES) {
    const message = "this file holds too many recipes";
    return { diagnostics: [{ code: "recipe-too-large", severity: "error", message, file, found: `${ranges.length}`, expected: `at most ${MAX_STAGES}` }] };
  }
  const parsed = ranges.map((range) => parseOne(text, range, file));
  const diagnostics = [...parsed.flatMap((stage) => stage.diagnostics), ...checkNames(parsed, file)];
  const stages = parsed.flatMap(({ name, recipe }) => (recipe === undefined ? [] : [{ name: name?.text, recipe }]));
  const final = stages.find(({ name }) => name === undefined) ?? stages.at(-1);
  if (final === undefined || diagnostics.some(({ severity }) => severity === "error")) return { diagnostics };
  return { stages, final, diagnostics };
}

interface Name {
  readonly text: string;
  readonly range: SourceRange;
}

interface ParsedStage extends ParsedRecipe {
  readonly name: Name | undefined;
}

/** Reads one document with all others blanked out, so that places are those of the file. */
function parseOne(text: string, [start, end]: readonly [number, number], file: string): ParsedStage {
  const blank = (part: string) => part.replace(/[^\n\r]/g, " ");
  const alone = blank(text.slice(0, start)) + text.slice(start, end) + blank(text.slice(end));
  const { recipe, diagnostics } = parseRecipe(alone, file);
  const name = nameIn(alone, file);
  // Here names have an effect.
  const rest = diagnostics.filter((d) => d.code !== "ignored-key" || !/^name\b/.test(d.message));
  return { name, diagnostics: rest, ...(recipe === undefined ? {} : { recipe: { ...recipe, text: text.slice(start, end).trimStart() } }) };
}

function nameIn(text: string, file: string): Name | undefined {
  const { source } = parseYaml(text, file);
  if (source === undefined || !isMap(source.root)) return undefined;
  const pair = source.root.items.find(({ key }) => isScalar(key) && key.value === "name");
  const value = source.follow(pair?.value);
  if (!isScalar(value) || value.value === null) return undefined;
  // `y` and `1` are names as they are written, not as YAML reads them.
  return { text: typeof value.value === "string" ? value.value : (value.source ?? String(value.value)), range: source.rangeOf(value) };
}

function checkNames(stages: readonly ParsedStage[], file: string): Diagnostic[] {
  const problem = (message: string, more: Partial<Diagnostic>): Diagnostic => ({ code: "stage-name", severity: "error", message, file, ...more });
  const seen = new Set<string>();
  const twice = stages.flatMap(({ name }) => {
    const repeated = name !== undefined && seen.has(name.text);
    if (name !== undefined) seen.add(name.text);
    return repeated ? [problem("two recipes of this file have the same name", { range: name.range, found: name.text })] : [];
  });
  const unnamed = stages.filter(({ name }) => name === undefined);
  const range = unnamed[1]?.recipe?.methodRange;
  const more =
    unnamed.length < 2
      ? []
      : [
          problem("only one recipe of a file may be without a name: the one that makes the output", {
            found: `${unnamed.length} without`,
            ...(range && { range }),
          }),
        ];
  return [...twice, ...more];
}
