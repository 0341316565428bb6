// What merging costs in the evaluation of one candidate of a search on the sample models: recipe in, losses on the validation questions of all tasks
// out. The share of planning and merging is to be at most 10 %; what hashing and loading take stands beside it. Each candidate has another coefficient, as
// in a search, so that no number comes from the cache.
//   BENCH_THREADS  threads (default: what the process may use)
//   BENCH_REPEATS  candidates of each method, the median counts (default 7)
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { builtinMetric, openEvaluator } from "../../merge-core/evaluate/evaluators.ts";
import { TASKS } from "../../merge-core/evaluate/synthetic-tasks.ts";

const threads = Number(process.env.BENCH_THREADS ?? availableParallelism());
const repeats = Number(process.env.BENCH_REPEATS ?? 7);
const ZOO = "media/zoo";

/** Methods that searches try, with parameters of each model. */
const METHODS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  task_arithmetic: {},
  ties: { density: 0.2 },
  dare_ties: { density: 0.5 },
  pcb: {},
};

const recipe = (method: string, weight: number): string =>
  JSON.stringify({
    merge_method: method,
    base_model: join(ZOO, "base"),
    models: TASKS.map((task) => ({ model: join(ZOO, task), parameters: { weight, ...METHODS[method] } })),
    dtype: "bfloat16",
  });

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const metrics = TASKS.map((task) => builtinMetric("loss", [join(ZOO, "data", `${task}.validation.jsonl`)], { name: task }));
console.log(`losses of ${TASKS.length} tasks on their validation questions, ${threads} threads, median of ${repeats} candidates`);
console.log("| method | candidate | plan and merge | share | hash and load |\n|---|---|---|---|---|");
for (const method of Object.keys(METHODS)) {
  const seen = { plan: 0, merge: 0, load: 0 };
  const evaluator = await openEvaluator(metrics, { threads, onStage: (stage, ms) => (seen[stage] += ms) });
  const runs: { total: number; merge: number; load: number }[] = [];
  for (let i = 0; i <= repeats; i++) {
    Object.assign(seen, { plan: 0, merge: 0, load: 0 });
    const started = performance.now();
    await evaluator.recipe({ text: recipe(method, 0.2 + i / 100), file: "bench.yml" });
    runs.push({ total: performance.now() - started, merge: seen.plan + seen.merge, load: seen.load });
  }
  // The first compiles.
  const rest = runs.slice(1);
  const of = (value: (run: { total: number; merge: number; load: number }) => number) => median(rest.map(value));
  const cells = [`${of(({ total }) => total).toFixed(0)} ms`, `${of(({ merge }) => merge).toFixed(0)} ms`];
  const share = `${(100 * of(({ merge, total }) => merge / total)).toFixed(1)} %`;
  console.log(`| ${[method, ...cells, share, `${of(({ load }) => load).toFixed(0)} ms`].join(" | ")} |`);
}
// Worker threads would keep the process alive.
process.exit(0);
