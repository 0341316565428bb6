// How long a merge will take, roughly: bytes at the disk's rate, and arithmetic at costs measured with this program (three models of bf16,
// one core of a server of 2023). Meant to tell seconds from hours.
import { elementCount } from "../formats/dtypes.ts";
import { findMethod } from "../methods/registry.ts";
import type { MergePlan, TensorJob } from "./plan.ts";

export interface Machine {
  readonly threads: number;
  /** Reading and writing. */
  readonly diskBytesPerSecond: number;
}

/** What today's SSDs of laptops and clouds reach without haste. */
export const USUAL_DISK = 1e9;

/** Reading, widening and combining one element of one input. */
const PASS_SECONDS = 1.5e-9;
/** A random draw by rank, or another value that is worked out beside the formula. */
const SIDE_SECONDS = 5e-9;
/** Multiply-adds of a singular value decomposition, for each element of the matrix and each of its smaller side (Golub and Van Loan, 8.6). */
const SVD_WORK = 20;
const WORK_PER_SECOND = 10e9;
/** Starting threads, planning, small files. */
const START_SECONDS = 1;

/** Seconds of a run that reads and writes everything once, with nothing of it in the disk's cache. */
export function estimateSeconds(plan: Pick<MergePlan, "jobs" | "bytesToRead" | "bytesToWrite">, { threads, diskBytesPerSecond }: Machine): number {
  const work = plan.jobs.reduce((sum, job) => sum + jobSeconds(job), 0);
  return START_SECONDS + (plan.bytesToRead + plan.bytesToWrite) / diskBytesPerSecond + work / Math.max(1, threads);
}

/** Of one thread. */
function jobSeconds(job: TensorJob): number {
  const method = job.kind === "merge" ? findMethod(job.method) : undefined;
  if (job.kind === "copy" || method === undefined) return 0;
  const size = elementCount(job.shape);
  const others = job.inputs.filter(({ isBase }) => !isBase).length;
  const sides = method.sides?.(others, job.parameters) ?? 0;
  return size * (job.inputs.length * method.passes * PASS_SECONDS + sides * SIDE_SECONDS) + (method.kind === "matrix" ? matrixSeconds(job.shape, others) : 0);
}

/** One decomposition for each model and one of the result. */
function matrixSeconds(shape: readonly number[], models: number): number {
  const [rows = 1, columns = 1] = shape;
  return shape.length === 2 ? ((models + 1) * SVD_WORK * rows * columns * Math.min(rows, columns)) / WORK_PER_SECOND : 0;
}
