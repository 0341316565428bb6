// A plan carried out in memory: for whoever measures a merge and has no use for its files. Node only.
import { openFile } from "../bytes/file-source.ts";
import { type ComputePool, createPool } from "../compute/pool.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import type { DType } from "../formats/dtypes.ts";
import { wholeMatrixBytes } from "../plan/estimate.ts";
import type { CopyJob, MergePlan } from "../plan/plan.ts";
import type { KnownNumbers } from "./known-numbers.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "./memory.ts";
import { takeStatistics } from "./model-statistics.ts";
import { mergeTensor } from "./run-job.ts";

/** One tensor of the output, little-endian as it would be on disk. */
export interface MergedTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface MergeTensorsOptions {
  /** Computes here instead of in a pool of its own. */
  readonly pool?: ComputePool;
  readonly threads?: number;
  readonly memoryBytes?: number;
  /** For one merge of the same models after the other: what was found before and is wanted again. */
  readonly known?: KnownNumbers;
  readonly signal?: AbortSignal;
}

/** The output's tensors by name: the bytes that `runMerge` would write. @throws WeightsmithError as `runMerge`, but for what concerns the output */
export async function mergeTensors(plan: MergePlan, options: MergeTensorsOptions = {}): Promise<Map<string, MergedTensor>> {
  const { signal, threads, known, memoryBytes = defaultMemoryBytes() } = options;
  const maxMemoryBytes = memoryBytes + wholeMatrixBytes(plan.jobs) + ARENA_SLACK_BYTES;
  const pool = options.pool ?? createPool({ ...(threads === undefined ? {} : { threads }), maxMemoryBytes });
  const held: string[] = [];
  try {
    for (const file of inputFiles(plan)) {
      pool.files.acquire(file, false);
      held.push(file);
    }
    const shared = { pool, seed: plan.seed, memoryBytes, signal, known, onBytes: () => undefined };
    const statistics = await takeStatistics(plan.jobs, shared);
    const merged = new Map<string, MergedTensor>();
    for (const job of plan.jobs) {
      throwIfCancelled(signal);
      const data = job.kind === "copy" ? await readSource(job, signal) : (await mergeTensor(job, undefined, { ...shared, statistics })).bytes?.slice();
      if (data === undefined) throw new Error(`the merge of ${job.name} gave no bytes`);
      merged.set(job.name, { dtype: job.dtype, shape: job.shape, data });
    }
    return merged;
  } finally {
    for (const file of held) pool.files.release(file, false);
    if (options.pool === undefined) await pool.close();
  }
}

/** More than this many files are opened when they are read. */
const MOST_HELD = 64;

/** Files that stay open from the first tensor to the last: to make sure each time that they are still the same takes longer than to read a small tensor. */
function inputFiles({ jobs }: MergePlan): string[] {
  const files = jobs.flatMap((job) => (job.kind === "copy" ? [] : job.inputs.flatMap(({ file, lora }) => (lora === undefined ? file : []))));
  return [...new Set(files)].slice(0, MOST_HELD);
}

async function readSource({ source }: CopyJob, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const file = await openFile(source.file);
  try {
    return await file.read(source.offset, source.byteLength, signal === undefined ? {} : { signal });
  } finally {
    await file.close();
  }
}
