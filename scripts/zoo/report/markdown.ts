// docs/results.md from what was measured.
import { VERSION } from "../../../merge-core/version.ts";
import { meanOf, meanScore, SEEDS, TEST_QUESTIONS } from "./bench.ts";
import { LEARNING } from "./learned.ts";
import type { Ordering } from "./orderings.ts";
import { type PairRow, pairsOf } from "./pairs.ts";
import type { Row } from "./rows.ts";
import { BUDGET, FRONT_TRAINING, type MapFront, type MeasuredFront, type Unlearned } from "./searches.ts";

export interface Report {
  readonly tasks: readonly string[];
  readonly base: Row;
  readonly experts: Row;
  readonly rows: readonly Row[];
  readonly orderings: readonly Ordering[];
  readonly curve: readonly { readonly weight: number; readonly score: number }[];
  readonly pairs: readonly PairRow[];
  readonly maps: readonly MapFront[];
  readonly fronts: readonly MeasuredFront[];
  readonly unlearned: readonly Unlearned[];
  /** Methods of the registry that the table leaves out. */
  readonly left: readonly string[];
}

const percent = (value: number): string => (100 * value).toFixed(1);

function deviation(values: readonly number[]): number {
  const mean = meanOf(values);
  return values.length < 2 ? 0 : Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}

const table = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
  [header, header.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

function resultRow(row: Row, { tasks, experts }: Report): string[] {
  const means = row.perSeed.map(meanScore);
  const own = experts.perSeed[0] ?? {};
  const relative = row.perSeed.map((scores) => meanOf(tasks.map((task) => (scores[task] ?? 0) / (own[task] ?? 1))));
  const spread = row.perSeed.length < 2 ? "" : ` ± ${percent(deviation(means))}`;
  const perTask = tasks.map((task) => percent(meanOf(row.perSeed.map((scores) => scores[task] ?? Number.NaN))));
  const chosen = [...new Set(row.chosen)].join("; ");
  return [row.name, row.needs, ...perTask, `${percent(meanOf(means))}${spread}`, percent(meanOf(relative)), chosen];
}

export function reportMarkdown(report: Report): string {
  const { tasks, base, experts, rows, pairs, maps, orderings, curve, fronts, unlearned, left } = report;
  const sorted = [...rows].sort((a, b) => meanOf(b.perSeed.map(meanScore)) - meanOf(a.perSeed.map(meanScore)));
  const header = ["method", "needs", ...tasks, "mean", "of experts", "chosen on validation data"];
  const fails = orderings.filter(({ holds }) => !holds);
  return `# Results on the sample models

Written by \`npm run zoo:report\` (version ${VERSION}); do not edit. The models are tiny and their tasks synthetic: orderings may carry over
to other models, numbers do not. All four experts are merged. Exact match in percent on ${TEST_QUESTIONS} test questions per task, which chose
nothing: the binomial error of a mean over ${tasks.length} tasks is up to ${percent(0.5 / Math.sqrt(TEST_QUESTIONS * tasks.length))} points, and smaller differences say nothing.

Seeds ${SEEDS.join(", ")}: each chooses settings by the loss on its own fifth of the validation questions, and draws what is random; ± is the standard deviation over
seeds. “Of experts” is the mean over tasks of the score divided by that of the task's expert. Learned methods take ${LEARNING.steps} steps on batches of
${LEARNING.batchSize} prompts per task at a rate of ${LEARNING.lr}, from coefficients of ${LEARNING.init}; masks take ${LEARNING.maskSteps} steps at ${LEARNING.maskLr}, routers learn at ${LEARNING.routerLr}: settings
for models of this size. Steps times rate, how far a number can move, is about that of the papers' code (0.5 for coefficients, 2 for masks,
0.1 for routers), in a twentieth of their steps or less. The papers' own
steps and rates are the defaults of \`weightsmith adapt\`. MAP measures ${BUDGET.samples} samples and ${BUDGET.front} points of its front, CMA-ES ${BUDGET.trials} trials, both over one coefficient
per expert from 0 to ${BUDGET.most}. Learned methods see the validation prompts, no answers and no test data.

${table(
  header,
  [base, experts, ...sorted].map((row) => resultRow(row, report)),
)}

## Task arithmetic over its coefficient

${table(["coefficient", ...curve.map(({ weight }) => `${weight}`)], [["mean", ...curve.map(({ score }) => percent(score))]])}

## Two models

Exact match in percent over both tasks, for each pair of experts and on average; settings are chosen by the losses of both tasks on the first seed's fifth of
the validation questions. With slerp, nearswap and arcee_fusion the first of a pair is the base.

${table(
  ["method", ...pairsOf(tasks).map(([a, b]) => `${a}, ${b}`), "mean"],
  pairs.map(({ name, scores }) => [name, ...scores.map(percent), percent(meanOf(scores))]),
)}

## Fronts of all tasks

Searches for fronts over one coefficient for each expert, by the losses of all tasks on the seed's fold, mean over seeds: share of a box that the measured
points dominate (the box ends at the worst loss that any search of the seed measured), and how far the surrogates were off at the points that they proposed.

${table(
  ["search", "trials", "hypervolume", "error of surrogates"],
  maps.map(({ name, trials, hypervolume, surrogateError }) => [name, `${trials}`, hypervolume.toFixed(3), surrogateError?.toFixed(3) ?? ""]),
)}

## Fronts of two tasks

Share of a box that each front dominates, by the losses of ${tasks.slice(0, 2).join(" and ")} on validation data; the box ends at the worst loss on any of the fronts. PaMaL
and PaLoRA start at the base and take ${FRONT_TRAINING.steps} steps of ${FRONT_TRAINING.batch_size} examples per task; the experts between which is interpolated were trained for longer.

${table(
  ["front", "training", "hypervolume", "least losses"],
  fronts.map(({ name, trained, hypervolume, ends }) => [name, trained, hypervolume.toFixed(3), ends]),
)}

## Unlearning

The average of the experts is to forget ${tasks[0]} and keep the rest; what is chosen is chosen on validation data.

${table(
  ["method", "forget", "retain", "control", "numbers changed", "chosen", "kept the floor on validation data"],
  unlearned.map(({ method, before, after, changed, chosen, keeps, floor }) => [
    method,
    ...(["forget", "retain", "control"] as const).map((part) => `${percent(before[part])} to ${percent(after[part])}`),
    `${percent(changed)} %`,
    chosen,
    keeps ? `yes, ${floor}` : `no, ${floor}`,
  ]),
)}

## Expected orderings

What papers and experience lead one to expect, in ${new Set(orderings.map(({ group }) => group)).size} groups. ${fails.length} of ${orderings.length} do not hold here: ${fails.map(({ claim }) => claim).join("; ") || "none"}.

${table(
  ["group", "expected", "holds", "figures"],
  orderings.map(({ group, claim, holds, figures }) => [`${group}`, claim, holds ? "yes" : "**no**", figures]),
)}

The first model of \`rws\` is ${tasks[0]} and the others stand for models trained on corrupted data, which they are not. Methods left out, because they need
several checkpoints of one run or do not merge: ${left.map((id) => `\`${id}\``).join(", ")}.
`;
}
