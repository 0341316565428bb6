// What the literature would lead one to expect of a table of merges, held against the table. Pure.
import type { DemoProbes, Negation } from "./demo-probes.ts";
import { type MeasuredModel, mean } from "./demo-results.ts";

export interface Ordering {
  /** What is expected. */
  readonly expectation: string;
  readonly holds: boolean;
  /** The numbers it was judged by. */
  readonly found: string;
}

/** Means are of a few hundred questions: differences below this say nothing. */
const TOLERANCE = 0.01;

/** The expectations whose methods were measured. That one does not hold is a finding, not an error. */
export function orderings(models: readonly MeasuredModel[], probes?: DemoProbes): Ordering[] {
  const named = (name: string) => models.find((model) => model.name === name && model.kind === "merge");
  const base = models.find(({ kind }) => kind === "base");
  const merges = models.filter(({ kind }) => kind === "merge");
  const [average, sum] = [named("linear"), named("task-arithmetic")];
  const best = merges.reduce<MeasuredModel | undefined>((most, model) => (most !== undefined && most.mean >= model.mean ? most : model), undefined);
  const experts = models.filter(({ kind }) => kind === "expert");
  const alone = { name: "each expert on its own task", mean: mean(experts.map(({ task = "", exactMatch }) => exactMatch[task] ?? Number.NaN)) };
  return [
    below("the average is better than the base", base, average, 0),
    below("the best merge is better than the average", average, best, 0),
    below("no merge is better than each expert on its own task", best, experts.length > 0 ? alone : undefined, 0),
    below("TIES is at least as good as task arithmetic", sum, named("ties")),
    alike("DARE is about as good as task arithmetic", sum, named("dare-linear")),
    below("Iso-C is at least as good as task arithmetic", sum, named("iso-c")),
    below("TSV-M is at least as good as task arithmetic", sum, named("tsv-m")),
    below("RegMean is at least as good as the average", average, named("regmean")),
    below("Fisher merging is at least as good as the average", average, named("fisher")),
    below("KnOTS is at least as good as TIES", named("ties"), named("knots")),
    ...(probes === undefined ? [] : [insideCurve(probes, base), ...probes.negations.map(forgets)]),
  ].filter((ordering) => ordering !== undefined);
}

/** The best coefficient of a sum of task vectors is neither none nor all of it. */
function insideCurve({ curve }: DemoProbes, base: MeasuredModel | undefined): Ordering | undefined {
  const best = curve.reduce((most, point) => (point.mean > most.mean ? point : most));
  const last = curve.at(-1);
  if (base === undefined || last === undefined) return undefined;
  const found = `best ${percent(best.mean)} at ${best.lambda}, ${percent(last.mean)} at ${last.lambda}, base ${percent(base.mean)}`;
  return { expectation: "task arithmetic is best at a coefficient between 0 and 1", holds: best.lambda < last.lambda && best.mean > base.mean, found };
}

/** Chosen on other questions to keep the control tasks; here both are judged again. */
function forgets({ task, lambda, target, control }: Negation): Ordering {
  const expectation = `taking the task vector of ${task} away lowers ${task} and leaves 95 % of the rest`;
  const found = `${percent(target.base)} to ${percent(target.negated)}, the rest ${percent(control.base)} to ${percent(control.negated)}`;
  if (lambda === undefined) return { expectation, holds: false, found: "no coefficient leaves as much on validation questions" };
  return {
    expectation,
    holds: target.negated < target.base && control.negated >= 0.95 * control.base - TOLERANCE,
    found: `${found}, coefficient ${lambda} chosen on validation questions`,
  };
}

const percent = (share: number): string => (100 * share).toFixed(1);

type Scored = Pick<MeasuredModel, "name" | "mean" | "spread">;

function below(expectation: string, lower: Scored | undefined, upper: Scored | undefined, tolerance = TOLERANCE): Ordering | undefined {
  if (lower === undefined || upper === undefined) return undefined;
  const holds = tolerance === 0 ? upper.mean > lower.mean : upper.mean >= lower.mean - tolerance;
  return { expectation, holds, found: `${describe(upper)}, ${describe(lower)}` };
}

/** Alike: within two standard deviations of the seeds, or the tolerance. */
function alike(expectation: string, first: Scored | undefined, second: Scored | undefined): Ordering | undefined {
  if (first === undefined || second === undefined) return undefined;
  const width = Math.max(TOLERANCE, 2 * Math.max(first.spread ?? 0, second.spread ?? 0));
  return { expectation, holds: Math.abs(first.mean - second.mean) <= width, found: `${describe(second)}, ${describe(first)}` };
}

const describe = ({ name, mean: value, spread }: Scored): string =>
  `${name} ${(100 * value).toFixed(1)}${spread === undefined ? "" : ` ± ${(100 * spread).toFixed(1)}`}`;
