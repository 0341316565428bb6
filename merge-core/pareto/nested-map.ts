// Nested MAP (Li et al. 2024, section 4): models are merged two at a time, each time by MAP over two coefficients, so that its cost grows with the
// number of models as N log N and not N^2. Works for one preference at a time. Since task arithmetic is linear, a merged model is kept as its coefficients.
import { inputError } from "../diagnostics.ts";
import { fitAll, type MapProblem, type MapSettings, measureAll, measureSome, propose } from "./map.ts";
import { type Box, mapSamples } from "./map-samples.ts";
import { type Link, predict } from "./surrogate.ts";

/** Measurements for each merge of two, as in the paper. */
export const NESTED_SAMPLES = 20;

export interface NestedSettings extends MapSettings {
  /** How much each objective counts. */
  readonly preference: readonly number[];
}

interface Member {
  /** The model is the base plus the experts' changes times these. */
  readonly direction: readonly number[];
  /** Objectives of its experts. */
  readonly tasks: readonly number[];
  /** Its experts' objectives, weighted by preference. */
  readonly score: number;
}

/**
 * Merges all models into one. Objective i belongs to coefficient i.
 * @throws WeightsmithError `search-nested-shape`
 */
export async function runNestedMap(problem: MapProblem, settings: NestedSettings): Promise<readonly number[]> {
  const n = problem.box.low.length;
  if (problem.directions.length !== n || problem.box.low.some((low) => low !== 0))
    throw inputError("search-nested-shape", "nested MAP needs one objective for each model, in the same order, and ranges that begin at 0", {
      found: `${problem.directions.length} objectives, ${n} coefficients`,
    });
  const ends = problem.box.high.map((high, i) => problem.box.low.map((_, j) => (i === j ? Math.min(1, high) : 0)));
  let pool: Member[] = [];
  for (const [task, direction] of ends.entries()) {
    // One that cannot be measured alone may still be merged: only the order of merging hangs on this.
    const [alone] = await measureSome(problem, [direction], { kind: "sample", objectives: [task] });
    pool.push({ direction, tasks: [task], score: alone?.values[0] ?? 0 });
  }
  for (let round = 0; pool.length > 1; round++) {
    const [a, b] = closest(pool);
    const merged = await mergeTwo(problem, settings, a, b, round);
    pool = [...pool.filter((member) => member !== a && member !== b), merged];
  }
  const [last] = pool;
  if (last === undefined) throw inputError("search-nested-shape", "nothing to merge", { expected: "two models or more" });
  await measureSome(problem, [last.direction], { kind: "front" });
  return last.direction;
}

/** Models alone are searched over their whole range; what is merged already, up to itself. */
function reachOf(problem: MapProblem, { direction, tasks: [task = 0, ...others] }: Member): number {
  return others.length > 0 ? 1 : (problem.box.high[task] ?? 1) / (direction[task] ?? 1);
}

function closest(pool: readonly Member[]): [Member, Member] {
  const pairs = pool.flatMap((a, i) => pool.slice(i + 1).map((b): [Member, Member] => [a, b]));
  return pairs.reduce((best, pair) => (Math.abs(pair[0].score - pair[1].score) < Math.abs(best[0].score - best[1].score) ? pair : best));
}

/** MAP over the coefficients of two models, each with one combined objective; takes what suits their summed preferences best. */
async function mergeTwo(problem: MapProblem, settings: NestedSettings, a: Member, b: Member, round: number): Promise<Member> {
  const tasks = [...a.tasks, ...b.tasks];
  const weightOf = (list: readonly number[]) => list.reduce((sum, task) => sum + (settings.preference[task] ?? 0), 0) || Number.MIN_VALUE;
  const combine = (member: Member, values: readonly number[]) =>
    member.tasks.reduce((sum, task) => sum + (settings.preference[task] ?? 0) * sign(problem, task) * (values[tasks.indexOf(task)] ?? 0), 0) /
    weightOf(member.tasks);
  const at = (c: readonly number[]) => a.direction.map((x, i) => (c[0] ?? 0) * x + (c[1] ?? 0) * (b.direction[i] ?? 0));
  const box: Box = { low: [0, 0], high: [a, b].map((member) => reachOf(problem, member)) };
  const pair: MapProblem = {
    box,
    directions: ["maximize", "maximize"],
    links: [a, b].map((member) => linkOf(problem, member.tasks)),
    measure: async (points, how) => {
      const measured = await problem.measure(points.map(at), { ...how, objectives: tasks });
      return measured.map((values) => values && [combine(a, values), combine(b, values)]);
    },
  };
  const samples = await measureAll(pair, mapSamples(box, NESTED_SAMPLES, settings.seed + round), { kind: "sample" });
  const worth = (values: readonly number[]) => weightOf(a.tasks) * (values[0] ?? 0) + weightOf(b.tasks) * (values[1] ?? 0);
  const surrogates = fitAll(pair.links, samples);
  const proposals = propose(pair, surrogates, { ...settings, front: NESTED_SAMPLES });
  const promise = (c: readonly number[]) => worth(surrogates.map((surrogate) => predict(surrogate, c)));
  const promising = [...proposals].sort((p, q) => promise(q) - promise(p));
  const checked = await measureSome(pair, promising.slice(0, 2), { kind: "sample" });
  const best = [...samples, ...checked].reduce((x, y) => (worth(y.values) > worth(x.values) ? y : x));
  return { direction: at(best.x), tasks, score: worth(best.values) / (weightOf(a.tasks) + weightOf(b.tasks)) };
}

const sign = (problem: MapProblem, task: number): number => (problem.directions[task] === "maximize" ? 1 : -1);

/** An objective by itself keeps its link; a mixture of several, or a cost turned into a gain, is fitted as it is. */
function linkOf(problem: MapProblem, [task = 0, ...others]: readonly number[]): Link {
  return others.length === 0 && sign(problem, task) > 0 ? (problem.links[task] ?? "identity") : "identity";
}
