// The merges of the demo: recipes that come with the sample models, and for all other methods that can merge the four experts one recipe
// each, with defaults for whatever need not be given. Node only.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { MergeMethod, StatisticsKind } from "../methods/method.ts";
import { methods } from "../methods/registry.ts";

/** Recipes of the zoo that merge all four experts, in the order of the table. */
export const DEMO_RECIPES = ["linear", "task-arithmetic", "ties", "dare-linear", "dare-ties"] as const;

export interface DemoMerge {
  readonly name: string;
  readonly text: string;
  /** What diagnostics call the recipe; relative paths start there. */
  readonly file: string;
  /** Seeds it is run with, because it draws at random. */
  readonly seeds: number;
  /** Statistics of the experts on their data that it needs, in files that the recipe looks for in the folder `statistics`. */
  readonly data?: StatisticsKind;
}

/** Where a recipe of the demo looks for an expert's statistics. */
export const statisticsFile = (expert: string, kind: StatisticsKind): string => `statistics/${expert}.${kind}.safetensors`;

/** Methods that drop elements at random. */
const RANDOM: readonly string[] = ["dare_linear", "dare_ties", "della", "della_linear"];
/** Seeds of random methods: a few for a first look, more where all methods are compared. */
const SEEDS = { few: 3, all: 5 } as const;

/** Methods whose inputs are no experts of different tasks: checkpoints of one run, models trained on corrupted data. */
const OTHER_INPUTS: readonly string[] = ["mwa", "rws"];

/**
 * Per model, what has no default, or one at which the method does nothing of its own. Weights are those of an average where a method
 * normalises, else 0.3, which is customary for sums of task vectors; nothing is tuned.
 */
const GIVEN: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  multislerp: { weight: 1 },
  della: { weight: 1, density: 0.5 },
  della_linear: { weight: 0.3, density: 0.5 },
  breadcrumbs: { weight: 0.3, density: 0.9 },
  breadcrumbs_ties: { weight: 0.3, density: 0.9 },
  one_bit: { weight: 0.3, compress: 3 },
};

/** @param all every method that merges any number of experts, instead of a few */
export async function demoMerges(zoo: string, experts: readonly string[], all: boolean): Promise<DemoMerge[]> {
  const seeds = all ? SEEDS.all : SEEDS.few;
  const seedsOf = (method: string) => (RANDOM.includes(method) ? seeds : 1);
  const shipped = DEMO_RECIPES.map(async (name) => {
    const file = join(zoo, "recipes", `${name}.yml`);
    return { name, file, text: await readFile(file, "utf8"), seeds: seedsOf(name.replaceAll("-", "_")) };
  });
  const made = (all ? methods.filter(mergesExperts) : []).map((method) => {
    const name = method.id.replaceAll("_", "-");
    const { data } = method;
    return { name, file: join(zoo, "recipes", `${name}.yml`), text: recipeOf(method, experts), seeds: seedsOf(method.id), ...(data && { data }) };
  });
  return [...(await Promise.all(shipped)), ...made];
}

function mergesExperts({ id, models }: MergeMethod): boolean {
  const shipped = (DEMO_RECIPES as readonly string[]).includes(id.replaceAll("_", "-"));
  return !shipped && models.max === Number.POSITIVE_INFINITY && !OTHER_INPUTS.includes(id);
}

function recipeOf({ id, base, data }: MergeMethod, experts: readonly string[]): string {
  const given = Object.entries(GIVEN[id] ?? {}).map(([name, value]) => `      ${name}: ${value}\n`);
  const models = experts.map((expert) => {
    const file = data === undefined ? "" : `    ${data}: ${statisticsFile(expert, data)}\n`;
    return `  - model: ../${expert}\n${file}${given.length === 0 ? "" : `    parameters:\n${given.join("")}`}`;
  });
  return `merge_method: ${id}\n${base === "none" ? "" : "base_model: ../base\n"}models:\n${models.join("")}dtype: bfloat16\n`;
}
