// Methods that merge two models, over all pairs of experts, beside methods for any number of models.
import { join } from "node:path";
import { type Bench, meanOf, meanScore, recipeText, ZOO } from "./bench.ts";

export interface PairRow {
  readonly name: string;
  /** Exact match over both tasks, by pair. */
  readonly scores: readonly number[];
  readonly chosen: readonly string[];
}

interface PairMethod {
  readonly name: string;
  /** Recipes to choose from, with what they are called. */
  readonly recipes: (first: string, second: string) => readonly { readonly label: string; readonly text: string }[];
}

const several = (method: string, settings: readonly Readonly<Record<string, number>>[]): PairMethod => ({
  name: method,
  recipes: (first, second) => settings.map((model) => ({ label: labelOf(model), text: recipeText([first, second], method, { model }) })),
});

/** The first of two models is the base. */
const onFirst = (method: string, settings: readonly Readonly<Record<string, number>>[]): PairMethod => ({
  name: method,
  recipes: (first, second) =>
    settings.map((parameters) => {
      const models = [first, second].map((task) => ({ model: join(ZOO, task) }));
      const recipe = { merge_method: method, base_model: join(ZOO, first), models, parameters, dtype: "bfloat16" };
      return { label: labelOf(parameters), text: JSON.stringify(recipe) };
    }),
});

const labelOf = (setting: Readonly<Record<string, number>>): string =>
  Object.entries(setting)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");

export const PAIR_METHODS: readonly PairMethod[] = [
  several("linear", [{ weight: 1 }]),
  several("task_arithmetic", [{ weight: 0.4 }, { weight: 0.6 }]),
  several("ties", [{ weight: 1, density: 0.2 }]),
  several("nuslerp", [{ weight: 1 }]),
  onFirst("slerp", [{ t: 0.4 }, { t: 0.5 }, { t: 0.6 }]),
  onFirst("nearswap", [{ t: 1e-3 }, { t: 1e-2 }]),
  onFirst("arcee_fusion", [{}]),
];

export const pairsOf = (tasks: readonly string[]): [string, string][] =>
  tasks.flatMap((first, i) => tasks.slice(i + 1).map((second): [string, string] => [first, second]));

/** Chosen by the losses of both tasks on the first seed's fold, measured on both tests. */
export async function pairRow(bench: Bench, { name, recipes }: PairMethod): Promise<PairRow> {
  const scores: number[] = [];
  const chosen: string[] = [];
  for (const pair of pairsOf(bench.tasks)) {
    const candidates = recipes(...pair);
    const losses: number[] = [];
    for (const { text } of candidates) losses.push(candidates.length === 1 ? 0 : await bench.validationLoss(text, 0, pair));
    const best = candidates[losses.indexOf(Math.min(...losses))];
    scores.push(meanScore(await bench.testRecipe(best?.text ?? "", 0, pair)));
    chosen.push(best?.label ?? "");
  }
  return { name, scores, chosen };
}

/** Each expert by itself on both tasks, the better one of each pair. */
export async function betterOfPair(bench: Bench): Promise<PairRow> {
  const alone = new Map<string, Readonly<Record<string, number>>>();
  for (const task of bench.tasks) alone.set(task, await bench.test.model(join(ZOO, task)));
  const scores = pairsOf(bench.tasks).map((pair) => Math.max(...pair.map((expert) => meanOf(pair.map((task) => alone.get(expert)?.[task] ?? 0)))));
  return { name: "the better of both experts", scores, chosen: [] };
}
