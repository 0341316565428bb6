// Statistics over all tensors, for methods that need them before they merge the first: rounds over the jobs, sums per key.
import { throwIfCancelled } from "../diagnostics.ts";
import type { MergeMethod, ModelStatistic } from "../methods/method.ts";
import { findMethod } from "../methods/registry.ts";
import type { MergeJob, TensorJob } from "../plan/plan.ts";
import { type JobContext, mergeTask, withEngine } from "./run-job.ts";

/** By method id, what its tasks are told. */
export type Statistics = ReadonlyMap<string, Readonly<Record<string, number>>>;

/** Takes the statistics of every method of the plan that needs some. Sums are in the plan's order, so results do not depend on threads. */
export async function takeStatistics(jobs: readonly TensorJob[], context: JobContext): Promise<Statistics> {
  const found = new Map<string, Readonly<Record<string, number>>>();
  for (const method of new Set(jobs.flatMap((job) => (job.kind === "merge" ? (findMethod(job.method) ?? []) : [])))) {
    if (method.statistic === undefined) continue;
    const own = statisticJobs(jobs, method);
    let known: Readonly<Record<string, number>> = {};
    for (let round = 0; own.length > 0 && round < method.statistic.rounds; round++) known = await takeRound(own, method.statistic, known, context);
    found.set(method.id, known);
  }
  return found;
}

/** The jobs of a method that its statistic is taken of. */
function statisticJobs(jobs: readonly TensorJob[], { id, statistic }: MergeMethod): MergeJob[] {
  const merges = jobs.filter((job): job is MergeJob => job.kind === "merge" && job.method === id);
  return merges.filter((job) =>
    statistic?.applies(
      mergeTask(job, []),
      job.shape.reduce((size, length) => size * length, 1),
    ),
  );
}

async function takeRound(jobs: readonly MergeJob[], statistic: ModelStatistic, known: Readonly<Record<string, number>>, context: JobContext) {
  const sums = new Map<string, Float64Array>();
  for (const job of jobs) {
    throwIfCancelled(context.signal);
    context.onBytes(0);
    const parts = await withEngine(job, context, (engine) => statistic.gather(mergeTask(job, []), engine, known));
    for (const [key, values] of parts) {
      const sum = sums.get(key) ?? new Float64Array(values.length);
      for (const [i, value] of values.entries()) sum[i] = (sum[i] as number) + value;
      sums.set(key, sum);
    }
  }
  return statistic.conclude(sums, known);
}
