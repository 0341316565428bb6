// Carries out a plan: opens the working folder, runs the jobs that are not done yet, writes the files beside the tensors,
// and lets the output appear. Node only.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "../bytes/file-source.ts";
import type { GpuEngine } from "../compute/gpu/engine.ts";
import { createPool } from "../compute/pool.ts";
import type { Blas } from "../compute/providers/blas.ts";
import { type Diagnostic, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";
import { elementCount } from "../formats/dtypes.ts";
import { hasMatrices, wholeMatrixBytes } from "../plan/estimate.ts";
import type { MergePlan, TensorJob } from "../plan/plan.ts";
import { VERSION } from "../version.ts";
import { gatherWarnings } from "./gather-warnings.ts";
import { Journal, type JournalEntry, type RunIdentity, readJournal, wholeLinesBytes } from "./journal.ts";
import { buildManifest, type Manifest } from "./manifest.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "./memory.ts";
import { takeStatistics } from "./model-statistics.ts";
import { type MergeProgress, ProgressMeter, type WorkDone } from "./progress.ts";
import { runJob } from "./run-job.ts";
import { checkShards, fingerprintInputs, prepareShards } from "./shard-files.ts";
import { ShardHashes } from "./shard-hashes.ts";
import { writeSideFiles } from "./side-files.ts";
import { checkDiskSpace, checkOutput, MANIFEST_FILE, type OutputRequest, openWorkFolder, type WorkFolder } from "./work-folder.ts";

export interface RunOptions {
  /** The folder to make. */
  readonly out: string;
  /** Worker threads; never changes a result. */
  readonly threads?: number;
  /** Bounds the run's memory; never changes a result. */
  readonly memoryBytes?: number;
  /** Replace an existing output, or an unfinished one of another plan. */
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: MergeProgress) => void;
  /** Put sha256 sums of the output files into the manifest (default). They are taken while later tensors are computed. */
  readonly hashOutputs?: boolean;
  /** Computes whole matrices in place of the built-in engine; the manifest names it. */
  readonly blas?: Blas | undefined;
  /** Computes what is worth the way, until it fails: the rest is the built-in engine's, and a warning says from where on. */
  readonly gpu?: GpuEngine | undefined;
  /** How often finished tensors are forced to disk and noted for a resume. */
  readonly syncIntervalMs?: number;
}

export interface MergeResult {
  readonly out: string;
  readonly planHash: string;
  readonly files: Manifest["outputs"];
  readonly tensors: number;
  /** Tensors taken over from an unfinished run. */
  readonly resumedTensors: number;
  readonly bytesWritten: number;
  readonly seconds: number;
  readonly warnings: readonly Diagnostic[];
}

/**
 * Runs a plan. On cancellation or failure nothing appears under the final name; OUT.partial stays and the same call goes on from there.
 * Output bytes depend on the plan alone.
 * @throws WeightsmithError `output-*`, `disk-space`, `resume-*`, `input-changed`, `cancelled`, and whatever a file or method reports
 */
export async function runMerge(plan: MergePlan, options: RunOptions): Promise<MergeResult> {
  const started = performance.now();
  const { out, overwrite = false, signal } = options;
  throwIfCancelled(signal);
  const request: OutputRequest = { out, overwrite, inputs: plan.models.flatMap((model) => model.files.map(({ file }) => file)) };
  await checkOutput(request);
  await checkDiskSpace(out, plan.diskBytes);
  const identity: RunIdentity = { planHash: plan.planHash, weightsmith: VERSION, inputs: await fingerprintInputs(plan), ...otherEngine(plan, options) };
  const resumed = { finished: new Map<string, JournalEntry>(), bytes: 0 };
  const work = await openWorkFolder(request, (journal) => takeOver(journal, identity, request, resumed));
  try {
    const { files, warnings } = await fillFolder(plan, options, work, identity, resumed);
    const replaced = await work.finish();
    return {
      out,
      planHash: plan.planHash,
      files,
      tensors: plan.jobs.length,
      resumedTensors: resumed.finished.size,
      bytesWritten: plan.bytesToWrite,
      seconds: (performance.now() - started) / 1000,
      warnings: [...warnings, ...replaced],
    };
  } catch (error) {
    throw asWriteError(error, out);
  } finally {
    await work.release();
  }
}

/** The engine that changes bytes, if one does. */
function otherEngine(plan: MergePlan, { blas, gpu }: RunOptions): Pick<RunIdentity, "engine"> {
  if (gpu !== undefined && (gpu.elementwise || hasMatrices(plan))) return { engine: gpu.name };
  return blas !== undefined && hasMatrices(plan) ? { engine: blas.name } : {};
}

/** Told once, with the tensor at which the GPU failed. */
function lostGpu(gpu: GpuEngine | undefined, wasLost: boolean, tensor: string): Diagnostic[] {
  if (gpu?.failure === undefined || wasLost) return [];
  const message = `the GPU failed; from ${tensor} on the built-in engine did its work`;
  return [{ code: "gpu-failed", severity: "warning", message, found: gpu.failure }];
}

/** Errors of the file system, a full disk above all, become diagnostics; others stay what they are. */
function asWriteError(error: unknown, out: string): unknown {
  const remedy = "free space or repair the disk, then run the same command again: it goes on where it stopped";
  if (error instanceof WeightsmithError && error.code === "file-write")
    return new WeightsmithError(
      error.diagnostics.map((d) => ({ remedy, ...d })),
      { exitCode: error.exitCode, cause: error },
    );
  if (error instanceof WeightsmithError || errorCode(error) === "unknown") return error;
  const found = error instanceof Error ? error.message : String(error);
  return new WeightsmithError(
    { code: "file-write", severity: "error", message: "the output could not be written", file: out, found, remedy },
    { exitCode: 1, cause: error },
  );
}

/** What an earlier run left: its finished tensors, and the length of its journal's whole lines. */
interface Resumed {
  finished: Map<string, JournalEntry>;
  bytes: number;
}

/** Whether to go on with what the working folder holds. With --overwrite, what is of no use here is cleared instead of refused. */
function takeOver(journal: string, identity: RunIdentity, request: OutputRequest, resumed: Resumed): boolean {
  try {
    const finished = readJournal(journal, identity, request.out);
    if (finished === undefined) return false;
    resumed.finished = finished;
    resumed.bytes = wholeLinesBytes(journal);
    return true;
  } catch (error) {
    if (request.overwrite && error instanceof WeightsmithError) return false;
    throw error;
  }
}

async function fillFolder(
  plan: MergePlan,
  options: RunOptions,
  work: WorkFolder,
  identity: RunIdentity,
  resumed: Resumed,
): Promise<Pick<MergeResult, "files" | "warnings">> {
  await checkShards(plan.shards, resumed.finished, work.path);
  // First the journal, by which a later run knows the folder for its own even if there is no room for the shards.
  const journal = await Journal.open(work.path, identity, resumed.bytes, options.syncIntervalMs);
  const hashes = new ShardHashes(plan.shards, work.path, { enabled: options.hashOutputs ?? true, signal: options.signal });
  const noted = new Map([...resumed.finished].map(([tensor, entry]) => [tensor, entry.warnings]));
  try {
    await prepareShards(plan.shards, work.path);
    await runJobs(plan, options, work.path, noted, journal, hashes);
  } catch (error) {
    // What is done is worth keeping, but the reason for stopping is what the user must hear.
    await Promise.allSettled([journal.close(), hashes.all()]);
    throw error;
  }
  await journal.close();
  const files = await hashes.all();
  throwIfCancelled(options.signal);
  const gathered = gatherWarnings(plan.jobs.map(({ name }) => ({ tensor: name, warnings: noted.get(name) ?? [] })));
  const warnings = [...plan.findings.filter((finding) => finding.severity === "warning"), ...gathered];
  await writeSideFiles(plan, work.path, options.out);
  await writeFile(join(work.path, MANIFEST_FILE), `${JSON.stringify(await buildManifest(plan, work.path, files, warnings, identity.engine), null, 2)}\n`);
  return { files, warnings };
}

/** What went into some bytes of a tensor: the same share of each of its inputs. */
function workOf({ shards }: MergePlan, job: TensorJob, bytes: number): WorkDone {
  const share = job.byteLength === 0 ? 0 : bytes / job.byteLength;
  const inputs = job.kind === "copy" ? [job.source] : job.inputs;
  return {
    bytesRead: share * inputs.reduce((sum, { byteLength }) => sum + byteLength, 0),
    values: share * inputs.reduce((sum, { shape }) => sum + elementCount(shape), 0),
    shard: { file: shards[job.shard]?.file ?? "", number: job.shard + 1, count: shards.length },
  };
}

const BREATH_MS = 30;
let breathedMs = 0;

/** Lets the event loop turn now and then: many small tensors may finish without ever waiting, and Ctrl-C must be heard. */
async function breathe(): Promise<void> {
  if (performance.now() - breathedMs < BREATH_MS) return;
  await new Promise((resume) => setImmediate(resume));
  breathedMs = performance.now();
}

/** Runs the jobs that `noted` does not know, in the plan's order, and adds what each noticed. */
async function runJobs(
  plan: MergePlan,
  options: RunOptions,
  folder: string,
  noted: Map<string, readonly Diagnostic[]>,
  journal: Journal,
  hashes: ShardHashes,
): Promise<void> {
  const { signal, threads, memoryBytes = defaultMemoryBytes() } = options;
  const resumedBytes = plan.jobs.reduce((sum, job) => sum + (noted.has(job.name) ? job.byteLength : 0), 0);
  const totalBytes = plan.jobs.reduce((sum, job) => sum + job.byteLength, 0);
  const meter = new ProgressMeter(totalBytes, resumedBytes, options.onProgress);
  const pool = createPool({
    blas: options.blas,
    gpu: options.gpu,
    ...(threads === undefined ? {} : { threads }),
    maxMemoryBytes: memoryBytes + wholeMatrixBytes(plan.jobs) + ARENA_SLACK_BYTES,
  });
  try {
    const shared = { pool, seed: plan.seed, memoryBytes, signal };
    const statistics = await takeStatistics(plan.jobs, { ...shared, onBytes: () => meter.add(0, "statistics of all tensors") });
    for (const job of plan.jobs) {
      const target = join(folder, plan.shards[job.shard]?.file ?? "");
      if (!noted.has(job.name)) {
        await breathe();
        throwIfCancelled(signal);
        const wasLost = options.gpu?.failure !== undefined;
        const found = await runJob(job, target, { ...shared, statistics, onBytes: (bytes) => meter.add(bytes, job.name, workOf(plan, job, bytes)) });
        const warnings = [...found, ...lostGpu(options.gpu, wasLost, job.name)];
        noted.set(job.name, warnings);
        journal.add({ tensor: job.name, warnings }, target);
      }
      hashes.written(job.shard, job.offset + job.byteLength);
    }
  } finally {
    await pool.close();
  }
}
