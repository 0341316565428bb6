// What a plan will cost, from sizes alone.
import { copiedBytes, keptValueBytes, sideBytes } from "../compute/side-values.ts";
import { elementCount } from "../formats/dtypes.ts";
import { findMethod } from "../methods/registry.ts";
import { matrixBytes } from "../methods/whole-matrices.ts";
import { mergeInputs } from "./merge-inputs.ts";
import type { TensorJob } from "./plan.ts";

/** Program, kernels, tables and buffers that do not depend on the models: what an empty run takes, rounded up. */
const FIXED_BYTES = 184e6;
/** Index, config, model card, manifest and journal beside the weights. */
const SMALL_FILES_BYTES = 16e6;

export interface Estimate {
  readonly bytesToRead: number;
  readonly peakMemoryBytes: number;
  readonly diskBytes: number;
}

/** @param memoryBytes the run's budget: inputs of a tensor that fit are kept between passes, others are read again */
export function estimate(jobs: readonly TensorJob[], bytesToWrite: number, memoryBytes: number): Estimate {
  const largest = jobs.reduce((most, job) => Math.max(most, workingBytes(job, memoryBytes)), 0);
  return {
    bytesToRead: jobs.reduce((sum, job) => sum + bytesRead(job, memoryBytes), 0),
    peakMemoryBytes: Math.min(memoryBytes, largest) + wholeMatrixBytes(jobs) + jobs.reduce((most, job) => Math.max(most, foldedBytes(job)), 0) + FIXED_BYTES,
    diskBytes: bytesToWrite + SMALL_FILES_BYTES,
  };
}

/** What the method needs for whole matrices beside the budget: the largest of any tensor. */
export function wholeMatrixBytes(jobs: readonly TensorJob[]): number {
  return jobs.reduce((most, job) => {
    if (job.kind === "copy") return most;
    if (findMethod(job.method)?.data === "gram" && job.inputs.some(({ gram }) => gram === undefined)) return most;
    const others = job.inputs.filter(({ isBase }) => !isBase).length;
    const turned = job.inputsAlongRows === true;
    const needed = findMethod(job.method)?.workingBytes?.(turned ? job.shape.toReversed() : job.shape, others, job.parameters) ?? 0;
    return Math.max(most, needed + (turned ? matrixBytes(job.shape, 1) : 0));
  }, 0);
}

/** Whether any tensor is merged by a method on whole matrices. */
export const hasMatrices = ({ jobs }: { readonly jobs: readonly TensorJob[] }): boolean =>
  jobs.some((job) => job.kind === "merge" && findMethod(job.method)?.kind === "matrix");

/** Adapted inputs are in memory as float32 while they are merged. */
export function foldedBytes(job: TensorJob): number {
  const adapted = job.kind === "copy" ? [] : job.inputs.filter(({ lora }) => lora !== undefined);
  return adapted.length * elementCount(job.shape) * 4;
}

const inputBytes = (job: TensorJob): number =>
  job.kind === "copy" ? job.source.byteLength : job.inputs.reduce((sum, { byteLength, fisher }) => sum + byteLength + (fisher?.byteLength ?? 0), 0);

/** Gram matrices are read once, whole. */
const gramBytes = (job: TensorJob): number => (job.kind === "copy" ? 0 : job.inputs.reduce((sum, { gram }) => sum + (gram?.byteLength ?? 0), 0));

const workingBytes = (job: TensorJob, memoryBytes: number): number =>
  Math.min(inputBytes(job), copiedBytes(memoryBytes)) + job.byteLength + sideValues(job, memoryBytes);

function sideValues(job: TensorJob, memoryBytes: number): number {
  if (job.kind === "copy") return 0;
  const method = findMethod(job.method);
  const others = job.inputs.filter(({ isBase }) => !isBase).length;
  // What a matrix method made is one such value.
  const sides = method?.sides?.(others, job.parameters) ?? (method?.kind === "matrix" ? 1 : 0);
  const size = elementCount(job.shape);
  return sideBytes(sides, size, memoryBytes) + keptValueBytes(method?.keeps?.(others) ?? 0, size, memoryBytes);
}

/** Inputs that take little enough stay in memory from the first pass on; larger ones are read in every pass. */
function bytesRead(job: TensorJob, memoryBytes: number): number {
  const once = job.kind === "copy" || inputBytes(job) <= copiedBytes(memoryBytes);
  return inputBytes(job) * ((once ? 1 : (findMethod(job.method)?.passes ?? 1)) + statisticRounds(job)) + gramBytes(job);
}

/** How often a tensor is read for statistics over all tensors, before any is merged. */
export function statisticRounds(job: TensorJob): number {
  const statistic = job.kind === "copy" ? undefined : findMethod(job.method)?.statistic;
  if (job.kind === "copy" || statistic === undefined) return 0;
  const inputs = mergeInputs(job.inputs);
  const [base, others] = [inputs.find(({ isBase }) => isBase), inputs.filter(({ isBase }) => !isBase)];
  const task = { name: job.name, shape: job.shape, inputs, base, others, parameters: job.parameters, warn: () => {} };
  return statistic.applies(task, elementCount(job.shape)) ? statistic.rounds : 0;
}
