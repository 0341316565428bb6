// What the demo asks of task vectors beyond one merge of each method: how their sum does over its coefficient, and whether taking one away
// takes its task away (Ilharco et al., 2022). Coefficients of negation are chosen on validation questions, by the paper's rule: as much
// forgotten as leaves the other tasks 95 % of what the base can; the figures told are of test questions.
import type { TaskData } from "./measure-tasks.ts";

export interface CurvePoint {
  readonly lambda: number;
  /** Over the tasks, exact match. */
  readonly mean: number;
}

export interface Negation {
  readonly task: string;
  /** Absent where no coefficient leaves enough of the other tasks. */
  readonly lambda?: number;
  /** Exact match of the task, and the mean over the others, of the base and with the task vector taken away. */
  readonly target: { readonly base: number; readonly negated: number };
  readonly control: { readonly base: number; readonly negated: number };
}

export interface DemoProbes {
  readonly curve: readonly CurvePoint[];
  readonly negations: readonly Negation[];
}

export interface ProbeBench {
  readonly base: string;
  readonly experts: readonly { readonly name: string; readonly expert: string }[];
  readonly test: TaskData;
  readonly validation: TaskData;
  /** Merges by a recipe that stands in the zoo's folder of recipes, and measures. */
  measure(recipe: string, data: TaskData): Promise<Record<string, number>>;
}

const CURVE = Array.from({ length: 10 }, (_, i) => (i + 1) / 10);
const NEGATED = [0.05, 0.1, 0.2, 0.4, 0.8];
/** Share of the control tasks that must be left. */
const CONTROL_FLOOR = 0.95;

/** Merges that `measureProbes` measures, at most. */
export const probeCount = (tasks: number): number => CURVE.length + 2 + tasks * (NEGATED.length + 1);

export async function measureProbes(bench: ProbeBench): Promise<DemoProbes> {
  const curve: CurvePoint[] = [];
  for (const lambda of CURVE) {
    const scores = await bench.measure(
      sumOf(
        bench,
        bench.experts.map(({ expert }) => expert),
        lambda,
      ),
      bench.test,
    );
    curve.push({ lambda, mean: mean(Object.values(scores)) });
  }
  const [known, base] = [await bench.measure(copyOf(bench), bench.validation), await bench.measure(copyOf(bench), bench.test)];
  const negations: Negation[] = [];
  for (const { name, expert } of bench.experts) negations.push(await negate(bench, name, expert, { known, base }));
  return { curve, negations };
}

type Scores = Readonly<Record<string, number>>;

async function negate(bench: ProbeBench, task: string, expert: string, { known, base }: { readonly known: Scores; readonly base: Scores }): Promise<Negation> {
  let best: { lambda: number; target: number } | undefined;
  for (const lambda of NEGATED) {
    const { target, control } = split(await bench.measure(sumOf(bench, [expert], -lambda), bench.validation), task);
    if (control >= CONTROL_FLOOR * split(known, task).control && target < (best?.target ?? Number.POSITIVE_INFINITY)) best = { lambda, target };
  }
  const before = split(base, task);
  const after = best === undefined ? before : split(await bench.measure(sumOf(bench, [expert], -best.lambda), bench.test), task);
  return {
    task,
    ...(best && { lambda: best.lambda }),
    target: { base: before.target, negated: after.target },
    control: { base: before.control, negated: after.control },
  };
}

/** The task's score, and the mean of the others. */
const split = (scores: Scores, task: string): { target: number; control: number } => ({
  target: scores[task] ?? Number.NaN,
  control: mean(
    Object.entries(scores)
      .filter(([name]) => name !== task)
      .map(([, score]) => score),
  ),
});

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function sumOf({ base }: ProbeBench, experts: readonly string[], lambda: number): string {
  const models = experts.map((expert) => `  - { model: ../${expert}, parameters: { weight: 1 } }\n`).join("");
  return `merge_method: task_arithmetic\nbase_model: ../${base}\nparameters: { lambda: ${lambda} }\nmodels:\n${models}dtype: bfloat16\n`;
}

const copyOf = ({ base }: ProbeBench): string => `merge_method: passthrough\nmodels: [{ model: ../${base} }]\n`;
