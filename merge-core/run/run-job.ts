// One tensor of the output: merged by its method, or copied.
import type { TensorEngine } from "../compute/engine.ts";
import { input } from "../compute/expr.ts";
import type { ComputePool } from "../compute/pool.ts";
import { type OpenTensor, openTensorEngine } from "../compute/tensor-engine.ts";
import type { Diagnostic } from "../diagnostics.ts";
import type { MergeTask } from "../methods/method.ts";
import { findMethod } from "../methods/registry.ts";
import { mergeInputs } from "../plan/merge-inputs.ts";
import type { MergeJob, TensorJob } from "../plan/plan.ts";
import { copyTensor } from "./copy-tensor.ts";
import { openInputs } from "./gather-rows.ts";
import type { KnownNumbers } from "./known-numbers.ts";
import { readFloats } from "./read-floats.ts";
import { buffersOf } from "./shared-buffers.ts";

/** What every job of a run shares. */
export interface JobContext {
  readonly pool: ComputePool;
  readonly seed: number;
  readonly memoryBytes: number;
  readonly signal: AbortSignal | undefined;
  /** Called with output bytes as they are written. */
  readonly onBytes: (bytes: number) => void;
  /** What `takeStatistics` found. */
  readonly statistics?: ReadonlyMap<string, Readonly<Record<string, number>>>;
  /** What merges of the same tensors found before, where there are many of them. */
  readonly known?: KnownNumbers | undefined;
}

/** Writes one tensor to its place in the shard `target`; returns what was noticed. */
export async function runJob(job: TensorJob, target: string, context: JobContext): Promise<readonly Diagnostic[]> {
  if (job.kind === "merge") return (await mergeTensor(job, { file: target, offset: job.offset }, context)).warnings;
  const nonFinite = await copyTensor(job, target, context.pool, context.onBytes, context.signal);
  return nonFinite === 0 ? [] : [nonFiniteWarning(job.name, nonFinite, [job.source.name])];
}

/** Merges one tensor into a file, or without one into memory: `bytes` then holds the encoded tensor until the next one is merged. */
export async function mergeTensor(
  job: MergeJob,
  target: { readonly file: string; readonly offset: number } | undefined,
  { pool, seed, memoryBytes, signal, onBytes, statistics, known }: JobContext,
): Promise<{ warnings: readonly Diagnostic[]; bytes?: Uint8Array }> {
  const method = findMethod(job.method);
  if (method === undefined) throw new Error(`the plan names an unknown method ${job.method}`);
  const warnings: Diagnostic[] = [];
  const share = outputShare(job, method.passes, onBytes);
  const buffers = buffersOf(pool);
  const output = { dtype: job.dtype, ...(target ?? { bytes: buffers.take(job.byteLength) }) };
  let engine: OpenTensor | undefined;
  try {
    const inputs = await openInputs(job, { pool, memoryBytes, signal });
    engine = openTensorEngine(pool, { name: job.name, shape: job.shape, seed, inputs, output, memoryBytes, signal, onBytes: share.add });
    const task = { ...mergeTask(job, warnings, statistics?.get(job.method), { pool, signal }), seed };
    const expr = await method.merge(task, known?.engine(job, seed, engine) ?? engine);
    const { nonFinite, bytes } = await engine.write(expr);
    share.finish();
    if (nonFinite > 0) warnings.push(nonFiniteWarning(job.name, nonFinite, await nonFiniteInputs(job, engine)));
    return bytes === undefined ? { warnings } : { warnings, bytes };
  } finally {
    engine?.close();
    buffers.release();
  }
}

/** Opens a tensor's inputs to look at them, without an output. */
export async function withEngine<T>(job: MergeJob, { pool, seed, memoryBytes, signal }: JobContext, use: (engine: TensorEngine) => Promise<T>): Promise<T> {
  const buffers = buffersOf(pool);
  let engine: OpenTensor | undefined;
  try {
    const inputs = await openInputs(job, { pool, memoryBytes, signal });
    engine = openTensorEngine(pool, { name: job.name, shape: job.shape, seed, inputs, output: { dtype: job.dtype }, memoryBytes, signal });
    return await use(engine);
  } finally {
    engine?.close();
    buffers.release();
  }
}

/** Turns bytes read and written in any pass into a share of the output's bytes, never more than all of them. */
function outputShare(job: MergeJob, passes: number, onBytes: (bytes: number) => void): { add(bytes: number): void; finish(): void } {
  const expected = passes * job.inputs.reduce((sum, { byteLength }) => sum + byteLength, 0) + job.byteLength;
  let moved = 0;
  let reported = 0;
  const reportUpTo = (bytes: number) => {
    onBytes(Math.max(0, bytes - reported));
    reported = Math.max(reported, bytes);
  };
  return {
    add(bytes) {
      moved = Math.min(expected, moved + bytes);
      reportUpTo(Math.floor((moved / Math.max(1, expected)) * job.byteLength));
    },
    finish: () => reportUpTo(job.byteLength),
  };
}

/** The task as the method sees it. */
export function mergeTask(
  job: MergeJob,
  warnings: Diagnostic[],
  statistics: MergeTask["statistics"] = {},
  data?: Pick<JobContext, "pool" | "signal">,
): MergeTask {
  const inputs = mergeInputs(job.inputs, data && ((gram) => (target) => readFloats(gram, target, data.pool, data.signal)));
  return {
    name: job.name,
    shape: job.shape,
    inputs,
    base: inputs.find((model) => model.isBase),
    others: inputs.filter((model) => !model.isBase),
    parameters: job.parameters,
    ...(job.inputsAlongRows === undefined ? {} : { inputsAlongRows: true }),
    statistics,
    warn: (diagnostic) => void warnings.push({ ...diagnostic, severity: "warning" }),
  };
}

/** Which inputs are to blame: a sum of magnitudes is finite unless one of them is not. Only looked at when something is wrong. */
async function nonFiniteInputs(job: MergeJob, engine: TensorEngine): Promise<string[]> {
  const sums = await engine.reduce(job.inputs.map((_, index) => ({ op: "sumAbs", x: input(index) })));
  return job.inputs.filter((_, index) => !Number.isFinite(sums[index])).map(({ model, name }) => `${name} of ${model}`);
}

function nonFiniteWarning(tensor: string, count: number, sources: readonly string[]): Diagnostic {
  return {
    code: "non-finite",
    severity: "warning",
    message: `tensor ${tensor} holds NaN or infinite values`,
    found: `${count} in the output`,
    remedy: sources.length === 0 ? "the inputs are finite: the method or the output dtype overflowed" : "the inputs hold them already",
    notes: sources.map((source) => `from ${source}`),
  };
}
