// The rows of the table: each method, chosen on validation data and measured on test data, once for every seed.
import { join } from "node:path";
import type { Scores } from "../../../merge-core/evaluate/evaluators.ts";
import { candidateRecipes } from "../../../merge-core/evaluate/search/candidates.ts";
import { writeFisher, writeGram } from "../../../merge-core/evaluate/statistics/statistics-file.ts";
import { type Bench, recipeText, SEEDS, ZOO } from "./bench.ts";
import type { GridEntry, Setting } from "./method-grid.ts";

export interface Row {
  readonly name: string;
  readonly needs: string;
  /** Exact match by task on the test data, for every seed. */
  readonly perSeed: readonly Scores[];
  /** What was chosen, for every seed; empty where there was no choice. */
  readonly chosen: readonly string[];
}

const REPORT_FILE = "report.yml";

/** A candidate recipe with what the table calls it. */
interface Named {
  readonly label: string;
  readonly text: string;
}

/** The candidate with the least loss on the seed's fold, measured on the test data. */
async function chooseAndTest(bench: Bench, seed: number, candidates: readonly Named[]): Promise<{ label: string; scores: Scores }> {
  let best: { loss: number; candidate: Named } | undefined;
  for (const candidate of candidates) {
    const loss = await bench.validationLoss(candidate.text, seed);
    if (best === undefined || loss < best.loss) best = { loss, candidate };
  }
  if (best === undefined) throw new Error("no candidates");
  return { label: candidates.length === 1 ? "" : best.candidate.label, scores: await bench.testRecipe(best.candidate.text, seed) };
}

async function rowOf(name: string, needs: string, run: (seed: number) => Promise<{ label?: string; scores: Scores }>): Promise<Row> {
  const results: { label?: string; scores: Scores }[] = [];
  for (const seed of SEEDS) results.push(await run(seed));
  return { name, needs, perSeed: results.map(({ scores }) => scores), chosen: results.map(({ label }) => label ?? "").filter((label) => label !== "") };
}

const labelOf = ({ model = {}, global = {} }: Setting): string =>
  Object.entries({ ...model, ...global })
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");

/** A method of the registry over its grid; Gram matrices are taken on the seed's fold. */
export function methodRow(bench: Bench, { method, needs, settings }: GridEntry): Promise<Row> {
  const gram = (seed: number) => (task: string) => ({ gram: join(bench.folder, `${task}.${seed}.gram.safetensors`) });
  return rowOf(method, needs, async (seed) => {
    const beside = method === "regmean" ? gram(seed) : () => ({});
    if (method === "regmean")
      for (const task of bench.tasks) await writeGram(join(ZOO, task), [bench.foldFile(seed, task)], { out: gram(seed)(task).gram, overwrite: true });
    return chooseAndTest(
      bench,
      seed,
      settings.map((setting) => ({ label: labelOf(setting), text: recipeText(bench.tasks, method, setting, beside) })),
    );
  });
}

/** Points of the simplex that Fisher merging and its baseline both choose from, besides equal weights. */
const POINTS = 6;

/** Fisher merging, and the same with all information alike: the paper's fair baseline. */
export async function fisherRows(bench: Bench): Promise<Row[]> {
  const file = (seed: number, task: string) => join(bench.folder, `${task}.${seed}.fisher.safetensors`);
  for (const seed of SEEDS) {
    for (const task of bench.tasks)
      await writeFisher(join(ZOO, task), [bench.foldFile(seed, task)], { out: file(seed, task), seed, samples: 2, overwrite: true });
  }
  const variants = [
    { name: "fisher", method: "fisher", needs: "data, gradients", beside: (seed: number) => (task: string) => ({ fisher: file(seed, task) }) },
    { name: "isotropic, weights as for fisher", method: "linear", needs: "validation data", beside: () => () => ({}) },
  ];
  const rows: Row[] = [];
  for (const { name, method, needs, beside } of variants) {
    const row = await rowOf(name, needs, (seed) => {
      const text = recipeText(bench.tasks, method, { model: { weight: 1 } }, beside(seed));
      const drawn = candidateRecipes(text, REPORT_FILE, { kind: "dirichlet", points: POINTS, seed }, []);
      return chooseAndTest(bench, seed, [{ label: "equal weights", text }, ...drawn]);
    });
    rows.push(row);
  }
  return rows;
}

/** The base, and the mean model of each task's own expert. */
export async function referenceRows(bench: Bench): Promise<{ base: Row; experts: Row }> {
  const base = await bench.test.model(join(ZOO, "base"));
  const own: Scores = {};
  for (const task of bench.tasks) own[task] = (await bench.test.model(join(ZOO, task)))[task] ?? Number.NaN;
  const row = (name: string, scores: Scores): Row => ({ name, needs: "", perSeed: [scores], chosen: [] });
  return { base: row("base", base), experts: row("each task's own expert", own) };
}

/** The greedy soup of the experts, by the rule of the paper. */
export function greedyRow(bench: Bench): Promise<Row> {
  const soup = (ingredients: readonly string[]): Named => ({
    label: ingredients.join(" + "),
    text: recipeText(ingredients, "linear", { model: { weight: 1 } }),
  });
  return rowOf("greedy soup", "validation data", async (seed) => {
    const lossOf = (ingredients: readonly string[]) => bench.validationLoss(soup(ingredients).text, seed);
    const singles: { task: string; loss: number }[] = [];
    for (const task of bench.tasks) singles.push({ task, loss: await lossOf([task]) });
    singles.sort((a, b) => a.loss - b.loss);
    let pot = [singles[0]?.task ?? ""];
    let best = singles[0]?.loss ?? 0;
    for (const { task } of singles.slice(1)) {
      const loss = await lossOf([...pot, task]);
      if (loss < best) [pot, best] = [[...pot, task], loss];
    }
    return { label: soup(pot).label, scores: await bench.testRecipe(soup(pot).text, seed) };
  });
}
