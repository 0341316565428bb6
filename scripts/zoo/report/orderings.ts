// Orderings that the papers lead one to expect, looked for in this table. One that fails is a finding.

import { type Bench, meanOf, meanScore, QUICK, recipeText, SEEDS } from "./bench.ts";
import { adaMergingFrom } from "./learned.ts";
import type { Row } from "./rows.ts";

export interface Ordering {
  /** Of the list of expectations; several claims may belong to one. */
  readonly group: number;
  readonly claim: string;
  readonly holds: boolean;
  readonly figures: string;
}

const percent = (value: number): string => (100 * value).toFixed(1);
const score = (row: Row | undefined): number => (row === undefined ? Number.NaN : meanOf(row.perSeed.map(meanScore)));

const STATIC = "weights";

export function tableOrderings(rows: readonly Row[], base: Row, experts: Row): Ordering[] {
  const of = (name: string) => score(rows.find((row) => row.name === name));
  const atLeast = (group: number, a: string, b: string): Ordering => ({
    group,
    claim: `${a} is at least as good as ${b}`,
    holds: of(a) >= of(b),
    figures: `${percent(of(a))} and ${percent(of(b))}`,
  });
  const best = rows.filter(({ needs }) => needs === STATIC).reduce((top, row) => (score(row) > score(top) ? row : top));
  const chain = [score(base), of("linear"), score(best), score(experts)];
  return [
    {
      group: 1,
      claim: "base < average < best static merge < experts",
      holds: chain.every((value, i) => i === 0 || value > (chain[i - 1] ?? 0)),
      figures: `${chain.map(percent).join(", ")}; the best static merge is ${best.name}`,
    },
    atLeast(3, "ties", "task_arithmetic"),
    ...["iso_c", "tsv_m"].map((name) => atLeast(4, name, "task_arithmetic")),
    atLeast(4, "regmean", "linear"),
    atLeast(4, "AdaMerging, per tensor", "task_arithmetic"),
    atLeast(4, "AdaMerging, per tensor", "AdaMerging, per task"),
    atLeast(4, "Concrete AdaMerging, per tensor", "AdaMerging, per tensor"),
    atLeast(4, "WEMoE", "AdaMerging, per tensor"),
    atLeast(5, "fisher", "isotropic, weights as for fisher"),
  ];
}

const CURVE = QUICK ? [0.3, 1] : [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1];

/** Task arithmetic over its coefficient; fractions of the test answers. */
export async function coefficientCurve(bench: Bench, tasks: readonly string[]): Promise<{ weight: number; score: number }[]> {
  const curve: { weight: number; score: number }[] = [];
  for (const weight of CURVE) {
    const scores = await bench.testRecipe(recipeText(tasks, "task_arithmetic", { model: { weight } }), 0, tasks);
    curve.push({ weight, score: meanOf(tasks.map((task) => scores[task] ?? Number.NaN)) });
  }
  return curve;
}

const peak = (curve: readonly { weight: number; score: number }[]) => curve.reduce((top, point) => (point.score > top.score ? point : top));

export async function measuredOrderings(
  bench: Bench,
  curves: { two: readonly { weight: number; score: number }[]; all: readonly { weight: number; score: number }[] },
): Promise<Ordering[]> {
  const [two, all] = [peak(curves.two), peak(curves.all)];
  const last = curves.all.at(-1)?.score ?? Number.NaN;
  const orderings: Ordering[] = [
    {
      group: 2,
      claim: "task arithmetic has its best coefficient inside (0, 1)",
      holds: all.weight < 1 && last < all.score,
      figures: `best ${percent(all.score)} at ${all.weight}; ${percent(last)} at 1`,
    },
    {
      group: 2,
      claim: "the best coefficient falls as tasks are added",
      holds: all.weight < two.weight,
      figures: `${two.weight} with two tasks, ${all.weight} with ${bench.tasks.length}`,
    },
  ];
  const dare = async (density: number) => {
    const text = recipeText(bench.tasks, "dare_linear", { model: { weight: all.weight, density } });
    const scores: number[] = [];
    for (const seed of SEEDS) scores.push(meanScore(await bench.testRecipe(text, seed)));
    return meanOf(scores);
  };
  const [whole, tenth, hundredth] = [await dare(1), await dare(0.1), await dare(0.01)];
  orderings.push(
    {
      group: 3,
      claim: "DARE that drops 90 % is within 5 points of dropping nothing",
      holds: Math.abs(whole - tenth) <= 0.05,
      figures: `${percent(tenth)} and ${percent(whole)}`,
    },
    {
      group: 3,
      claim: "DARE that drops 99 % is at least 10 points worse",
      holds: whole - hundredth >= 0.1,
      figures: `${percent(hundredth)} and ${percent(whole)}`,
    },
  );
  const misset = 0.8;
  const { scores, losses } = await adaMergingFrom(bench, 0, misset);
  const plain = meanScore(await bench.testRecipe(recipeText(bench.tasks, "task_arithmetic", { model: { weight: misset } }), 0));
  const quarter = Math.ceil(losses.length / 4);
  const quarters = [0, 1, 2, 3].map((k) => meanOf(losses.slice(k * quarter, (k + 1) * quarter)));
  orderings.push(
    {
      group: 4,
      claim: `AdaMerging that starts at ${misset} beats task arithmetic at ${misset}`,
      holds: meanScore(scores) > plain,
      figures: `${percent(meanScore(scores))} and ${percent(plain)}`,
    },
    {
      group: 4,
      claim: "AdaMerging lowers the entropy from quarter to quarter of its steps",
      holds: quarters.every((value, k) => k === 0 || value < (quarters[k - 1] ?? 0)),
      figures: quarters.map((value) => value.toFixed(3)).join(", "),
    },
  );
  return orderings;
}
