// A recipe with places to be searched: wherever a number could stand, `{search: [0, 1]}` or `{search: [0.01, 1], log: true}`.
import { stringify } from "yaml";
import { inputError } from "../diagnostics.ts";

export interface SearchDimension {
  /** The model and the parameter, or the path in the recipe where that would not be unique. */
  readonly name: string;
  readonly low: number;
  readonly high: number;
  /** Searched evenly in its logarithm. */
  readonly log: boolean;
}

export interface SearchRecipe {
  readonly dimensions: readonly SearchDimension[];
  /** The recipe with numbers in the places. @param values in the dimensions' own units, in their order */
  textAt(values: readonly number[]): string;
}

/** @param value the recipe as parsed YAML @param file for diagnostics @throws WeightsmithError `search-range`, `search-nothing` */
export function readSearchRecipe(value: unknown, file: string): SearchRecipe {
  const found: { dimension: SearchDimension; path: string }[] = [];
  const filled = walk(value, "recipe", (mark, path) => {
    found.push({ dimension: readMark(mark, path, file), path });
    const index = found.length - 1;
    return (values) => values[index] ?? Number.NaN;
  });
  if (found.length === 0)
    throw inputError("search-nothing", "the recipe has nothing to search", { file, expected: "a number replaced by {search: [low, high]}" });
  const names = found.map(({ path }) => shortName(value, path));
  const dimensions = found.map(({ dimension, path }, i) => ({
    ...dimension,
    name: names.indexOf(names[i] ?? "") === names.lastIndexOf(names[i] ?? "") ? (names[i] ?? path) : path,
  }));
  return { dimensions, textAt: (values) => stringify(filled(values)) };
}

type Filler = (values: readonly number[]) => unknown;

/** The tree as a function of the values. */
function walk(node: unknown, path: string, onMark: (mark: Readonly<Record<string, unknown>>, path: string) => Filler): Filler {
  if (Array.isArray(node)) {
    const items = node.map((item, i) => walk(item, `${path}[${i}]`, onMark));
    return (values) => items.map((item) => item(values));
  }
  if (!isMap(node)) return () => node;
  if (Object.hasOwn(node, "search")) return onMark(node, path);
  const entries = Object.entries(node).map(([key, item]) => [key, walk(item, `${path}.${key}`, onMark)] as const);
  return (values) => Object.fromEntries(entries.map(([key, item]) => [key, item(values)]));
}

const isMap = (node: unknown): node is Readonly<Record<string, unknown>> => typeof node === "object" && node !== null && !Array.isArray(node);

function readMark(mark: Readonly<Record<string, unknown>>, path: string, file: string): SearchDimension {
  const refuse = (expected: string) => inputError("search-range", `${path} is not a range to search`, { file, found: JSON.stringify(mark), expected });
  const unknown = Object.keys(mark).find((key) => key !== "search" && key !== "log");
  if (unknown !== undefined) throw refuse("the keys search and log");
  const [low, high] = Array.isArray(mark.search) && mark.search.length === 2 ? (mark.search as unknown[]) : [];
  if (typeof low !== "number" || typeof high !== "number" || !Number.isFinite(low) || !Number.isFinite(high) || low >= high)
    throw refuse("search: [low, high], two numbers, the first less than the second");
  const log = mark.log ?? false;
  if (typeof log !== "boolean" || (log && low <= 0)) throw refuse("log: true only above 0");
  return { name: path, low, high, log };
}

/** `sort.weight` for recipe.models[0].parameters.weight where models[0].model is ../sort. */
function shortName(recipe: unknown, path: string): string {
  const match = /^recipe\.models\[(\d+)\]\.parameters\.([\w-]+)$/.exec(path);
  const models = isMap(recipe) && Array.isArray(recipe.models) ? (recipe.models as unknown[]) : [];
  const entry = models[Number(match?.[1])];
  const model = isMap(entry) && typeof entry.model === "string" ? entry.model : undefined;
  if (match === null || model === undefined) return path.replace(/^recipe\./, "");
  const last = model.split(/[\\/]/).filter(Boolean).at(-1) ?? model;
  return match[2] === "weight" ? last : `${last}.${match[2]}`;
}

/** A dimension's value at a fraction of its range. */
export function valueAt({ low, high, log }: SearchDimension, fraction: number): number {
  if (fraction <= 0) return low;
  if (fraction >= 1) return high;
  return log ? Math.exp(Math.log(low) + fraction * (Math.log(high) - Math.log(low))) : low + fraction * (high - low);
}
