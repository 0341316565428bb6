// The configuration of `weightsmith evolve`. Node only.
import { layerCount } from "../checkpoints/tensor-roles.ts";
import { inputError } from "../diagnostics.ts";
import { modelOpener } from "../plan/open-model.ts";
import { parseModelReference } from "../recipe/model-reference.ts";
import { asObject, type ConfigPlace, type ConfigValues, configError, configPlace, countIn, parseConfigValues, readConfigText } from "./config-values.ts";
import { firstModelGenome, genomeLength, type LayerStack, stackRecipe, stackValues } from "./layer-genome.ts";
import { type Objective, readObjectives } from "./objectives.ts";
import { readSearchRecipe, valueAt } from "./search-recipe.ts";

export interface WeightedObjective extends Objective {
  readonly weight: number;
}

/** What is searched: vectors of numbers, each of which is a recipe. */
export interface Genomes {
  readonly names: readonly string[];
  readonly start: readonly number[];
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly sigma: number;
  /** The numbers in the recipe's own units. */
  valuesOf(genome: readonly number[]): readonly number[];
  /** @throws WeightsmithError if the genome is no recipe */
  recipeOf(genome: readonly number[]): string;
}

export interface EvolveConfig {
  readonly place: ConfigPlace;
  readonly text: string;
  readonly genomes: Genomes;
  readonly objectives: readonly WeightedObjective[];
  /** Measured on the best trial and on the start at the end, on other data. */
  readonly report: readonly Objective[];
  readonly trials: number;
  readonly population: number | undefined;
  readonly seed: number;
  /** Cheap objectives that decide who is measured in full, and the share that is. */
  readonly early: { readonly objectives: readonly WeightedObjective[]; readonly keep: number } | undefined;
}

const KEYS = ["recipe", "stack", "objectives", "report", "trials", "population", "seed", "early"];
const DEFAULT_TRIALS = 100;

/** @throws WeightsmithError `file-missing`, `yaml-syntax`, `config-*`, `search-*`, `metric-*`, `model-missing` */
export async function readEvolveConfig(file: string): Promise<EvolveConfig> {
  const text = await readConfigText(file);
  const values = parseConfigValues(text, file, KEYS);
  const place = configPlace(file);
  const objectives = readWeighted(values.objectives, place);
  const report = values.report === undefined ? [] : readObjectives(values.report, place, "report");
  return {
    place,
    text,
    genomes: await readGenomes(values, place),
    objectives,
    report: report.map((objective) => renamed(objective, `report: ${objective.name}`)),
    trials: countIn(values, place, "trials", DEFAULT_TRIALS, 1),
    population: values.population === undefined ? undefined : countIn(values, place, "population", 0, 2),
    seed: countIn(values, place, "seed", 0, 0),
    early: readEarly(values, place, objectives),
  };
}

/** An objective under another name, which is what evaluators call it too. */
const renamed = <T extends Objective>(objective: T, name: string): T => ({
  ...objective,
  name,
  ...(objective.spec === undefined ? {} : { spec: { ...objective.spec, name } }),
});

/** Objectives, each with a weight in the sum that is searched. */
function readWeighted(value: unknown, place: ConfigPlace): WeightedObjective[] {
  const items = Array.isArray(value) ? (value as unknown[]) : [];
  const weights = items.map((item) => asObject(item)?.weight ?? 1);
  const bad = weights.find((weight) => typeof weight !== "number" || !(weight > 0) || !Number.isFinite(weight));
  if (bad !== undefined) throw configError(place, "objectives: weight", bad, "a number above 0; direction: min turns an objective round");
  const plain = items.map((item) => Object.fromEntries(Object.entries(asObject(item) ?? {}).filter(([key]) => key !== "weight")));
  return readObjectives(value === undefined ? undefined : plain, place).map((objective, i) => ({ ...objective, weight: Number(weights[i]) }));
}

function readEarly(values: ConfigValues, place: ConfigPlace, objectives: readonly WeightedObjective[]): EvolveConfig["early"] {
  if (values.early === undefined) return undefined;
  const { limit, keep = 0.5, ...rest } = asObject(values.early) ?? {};
  if (typeof limit !== "number" || !Number.isSafeInteger(limit) || limit < 1 || Object.keys(rest).length > 0)
    throw configError(place, "early", values.early, "{limit: N, keep: 0.5}: the first N examples, and the share that goes on");
  if (typeof keep !== "number" || !(keep > 0 && keep < 1)) throw configError(place, "early.keep", keep, "a share between 0 and 1");
  const cheap = objectives.flatMap((objective) => {
    const name = `${objective.name} (first ${limit})`;
    return objective.spec?.kind === "builtin" ? [{ ...objective, name, spec: { ...objective.spec, name, limit } }] : [];
  });
  if (cheap.length === 0) throw configError(place, "early", values.early, "an objective on data of which a part can be measured");
  return { objectives: cheap, keep };
}

async function readGenomes(values: ConfigValues, place: ConfigPlace): Promise<Genomes> {
  if ((values.recipe === undefined) === (values.stack === undefined)) throw configError(place, "recipe or stack", undefined, "one of the two");
  return values.recipe === undefined ? stackGenomes(await readStack(values.stack, place)) : recipeGenomes(values.recipe, place);
}

/** Every range as 0..1, from its middle. */
function recipeGenomes(value: unknown, place: ConfigPlace): Genomes {
  const { dimensions, textAt } = readSearchRecipe(value, place.file);
  const fill = <T>(x: T): T[] => dimensions.map(() => x);
  const valuesOf = (genome: readonly number[]) => dimensions.map((dimension, i) => valueAt(dimension, genome[i] ?? 0));
  return {
    names: dimensions.map(({ name }) => name),
    start: fill(0.5),
    low: fill(0),
    high: fill(1),
    sigma: 1 / 6,
    valuesOf,
    recipeOf: (genome) => textAt(valuesOf(genome)),
  };
}

/** From the first model as it is, its layers two steps from being left out. */
function stackGenomes(stack: LayerStack): Genomes {
  const sigma = 1 / 6;
  const fill = <T>(x: T): T[] => Array.from({ length: genomeLength(stack) }, () => x);
  const slots = stack.models.flatMap(({ model, layers }) => Array.from({ length: layers }, (_, layer) => `${lastPart(model)} ${layer}`));
  const places = Array.from({ length: stack.repeats }, () => slots).flat();
  return {
    names: stack.scale === undefined ? places : [...places, ...places.map((place) => `scale of ${place}`)],
    start: firstModelGenome(stack, 2 * sigma),
    low: fill(-1),
    high: fill(1),
    sigma,
    valuesOf: (genome) => stackValues(stack, genome),
    recipeOf: (genome) => stackRecipe(stack, genome),
  };
}

const lastPart = (path: string): string => path.split(/[\\/]/).filter(Boolean).at(-1) ?? path;

async function readStack(value: unknown, place: ConfigPlace): Promise<LayerStack> {
  const { models, repeats = 1, dtype, scale, ...rest } = asObject(value) ?? {};
  if (!Array.isArray(models) || models.length === 0 || !models.every((model) => typeof model === "string") || Object.keys(rest).length > 0)
    throw configError(place, "stack", value, "{models: [A, B], repeats: 1, scale: [0.5, 2]}");
  if (typeof repeats !== "number" || !Number.isSafeInteger(repeats) || repeats < 1)
    throw configError(place, "stack.repeats", repeats, "a whole number of at least 1");
  if (scale !== undefined && !isRangeAroundOne(scale)) throw configError(place, "stack.scale", scale, "[low, high] with 0 < low <= 1 <= high, low < high");
  const counted = await Promise.all(models.map(async (model: string) => ({ model, layers: await layersOf(model, place) })));
  return { models: counted, repeats, ...(typeof dtype === "string" ? { dtype } : {}), ...(scale === undefined ? {} : { scale }) };
}

function isRangeAroundOne(value: unknown): value is [number, number] {
  const [low, high] = Array.isArray(value) && value.length === 2 ? (value as unknown[]) : [];
  return typeof low === "number" && typeof high === "number" && low > 0 && low <= 1 && high >= 1 && low < high && Number.isFinite(high);
}

async function layersOf(model: string, place: ConfigPlace): Promise<number> {
  const reference = parseModelReference(model);
  if (reference === undefined) throw configError(place, "stack.models", model, "path, path@revision or path+adapter");
  const range = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
  const checkpoint = await modelOpener(place.file)({ ...reference, range });
  const layers = layerCount(checkpoint.tensors.keys());
  if (layers === 0) throw inputError("stack-no-layers", "the model has no numbered layers", { file: model });
  return layers;
}
