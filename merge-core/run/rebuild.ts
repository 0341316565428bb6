// Merges again into memory, one tensor at a time, and compares every byte with a finished folder. Writes nothing.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openFile } from "../bytes/file-source.ts";
import type { ByteSource } from "../bytes/source.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { createPool } from "../compute/pool.ts";
import type { Blas } from "../compute/providers/blas.ts";
import { type Diagnostic, throwIfCancelled } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { DTYPE_BYTES, type DType, isFloat } from "../formats/dtypes.ts";
import { findMethod } from "../methods/registry.ts";
import { wholeMatrixBytes } from "../plan/estimate.ts";
import type { CopyJob, MergePlan, TensorJob } from "../plan/plan.ts";
import { CPU_ENGINE, headerSha256 } from "./manifest.ts";
import { ARENA_SLACK_BYTES, defaultMemoryBytes } from "./memory.ts";
import { takeStatistics } from "./model-statistics.ts";
import { type MergeProgress, ProgressMeter } from "./progress.ts";
import type { StoredManifest } from "./read-manifest.ts";
import { type JobContext, mergeTensor } from "./run-job.ts";
import { outputConfig } from "./side-files.ts";

export interface RebuildOptions {
  readonly threads?: number;
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: MergeProgress) => void;
  /** What computed whole matrices, if it was not the built-in engine. */
  readonly blas?: Blas | undefined;
  /** What computed the folder where that is not to be had again: the built-in engine merges, and is met within NEARNESS. */
  readonly otherEngine?: string | undefined;
}

/** By how much another engine may differ, as a share of the largest magnitude beside; besides, an output may round to the next number. */
const NEARNESS = 1e-3;

/** Compared at a time, of copied tensors and of what the folder holds. */
const CHUNK_BYTES = 4 * 2 ** 20;

/**
 * Says where `out` differs from what `plan` gives: inputs that are not those of the manifest, tensors that one side lacks,
 * and the first tensor with other bytes, at which it stops. Nothing said: every tensor byte is the same.
 * @throws WeightsmithError `cancelled`, and whatever a file or method reports
 */
export async function compareRebuilt(plan: MergePlan, out: string, manifest: StoredManifest, options: RebuildOptions = {}): Promise<readonly Diagnostic[]> {
  const inputs = await compareInputs(plan, manifest);
  const stored = (await openCheckpoint(out, options)).tensors;
  const shapes = compareHeaders(plan, stored, out);
  const config = await compareConfig(plan, out);
  return [...inputs, ...config, ...shapes, ...(shapes.length > 0 ? [] : await compareTensors(plan, stored, options))];
}

const differs = (code: string, message: string, file: string, found: string, expected: string, remedy?: string): Diagnostic => ({
  code,
  severity: "error",
  message,
  file,
  found,
  expected,
  ...(remedy === undefined ? {} : { remedy }),
});

/** Headers and sizes of the models must be those that were merged: otherwise no rebuild can give the same. */
async function compareInputs(plan: MergePlan, manifest: StoredManifest): Promise<Diagnostic[]> {
  const problems: Diagnostic[] = [];
  for (const { reference, files } of plan.models) {
    const recorded = manifest.inputs.find(({ model }) => model === reference)?.files ?? [];
    for (const [i, { file, sizeBytes }] of files.entries()) {
      const sum = await headerSha256(file);
      const { sizeBytes: size, headerSha256: header } = recorded[i] ?? {};
      if (size !== sizeBytes || header !== sum)
        problems.push(
          differs(
            "input-differs",
            `${reference} is not the model that was merged`,
            file,
            `${sizeBytes} bytes, header ${sum.slice(0, 12)}`,
            `${size ?? "no"} bytes, header ${header?.slice(0, 12) ?? "none"}`,
            "get the version of the model that was merged",
          ),
        );
    }
  }
  return problems;
}

function compareHeaders(plan: MergePlan, stored: ReadonlyMap<string, TensorEntry>, out: string): Diagnostic[] {
  const write = (t: { readonly dtype: string; readonly shape: readonly number[] } | undefined) =>
    t === undefined ? "no such tensor" : `${t.dtype} [${t.shape.join(", ")}]`;
  const planned = new Map(plan.jobs.map((job) => [job.name, job]));
  const names = [...new Set([...planned.keys(), ...stored.keys()])];
  return names
    .filter((name) => write(planned.get(name)) !== write(stored.get(name)))
    .map((name) => differs("rebuilt-tensors-differ", `tensor ${name} is not what the recipe gives`, out, write(stored.get(name)), write(planned.get(name))));
}

async function compareConfig(plan: MergePlan, out: string): Promise<Diagnostic[]> {
  if (!plan.donor.hasConfig) return [];
  const file = join(out, "config.json");
  const found = await readFile(file, "utf8").catch(() => undefined);
  if (found === (await outputConfig(plan))) return [];
  const expected = plan.config.map(({ path, value }) => `${path.join(".")} = ${JSON.stringify(value)}`).join(", ");
  return [
    differs(
      "rebuilt-config-differs",
      "config.json is not what the recipe gives",
      file,
      found === undefined ? "no file" : "other text",
      `the config of ${plan.donor.reference}${expected && ` with ${expected}`}`,
    ),
  ];
}

/** The first tensor that differs, or else how many are near and not equal. */
async function compareTensors(plan: MergePlan, stored: ReadonlyMap<string, TensorEntry>, options: RebuildOptions): Promise<Diagnostic[]> {
  const { threads, signal, memoryBytes = defaultMemoryBytes() } = options;
  const meter = new ProgressMeter(
    plan.jobs.reduce((sum, job) => sum + job.byteLength, 0),
    0,
    options.onProgress,
  );
  const pool = createPool({
    blas: options.blas,
    ...(threads === undefined ? {} : { threads }),
    maxMemoryBytes: memoryBytes + wholeMatrixBytes(plan.jobs) + ARENA_SLACK_BYTES,
  });
  try {
    const near: string[] = [];
    const shared = { pool, seed: plan.seed, memoryBytes, signal };
    const statistics = await takeStatistics(plan.jobs, { ...shared, onBytes: () => {} });
    for (const job of plan.jobs) {
      throwIfCancelled(signal);
      const entry = stored.get(job.name) as TensorEntry;
      const context: JobContext = { ...shared, statistics, onBytes: (bytes) => meter.add(bytes, job.name) };
      const difference = await compareTensor(job, entry, context, options.otherEngine !== undefined && mayDiffer(job));
      if (typeof difference === "object") return [difference];
      if (difference === "near") near.push(job.name);
    }
    return near.length === 0 ? [] : [nearOnly(near, options.otherEngine ?? "")];
  } finally {
    await pool.close();
  }
}

/** Formulas element by element are the same bits on every engine. */
const mayDiffer = (job: TensorJob): boolean => job.kind === "merge" && findMethod(job.method)?.kind !== "element";

function nearOnly(tensors: readonly string[], engine: string): Diagnostic {
  const message = `${tensors.length} tensors are within ${NEARNESS} of the largest magnitude, not equal: another engine computed them`;
  const notes = [`${tensors.slice(0, 3).join(", ")}${tensors.length > 3 ? ", ..." : ""}; all others have the same bytes`];
  return { code: "rebuilt-near", severity: "warning", message, found: engine, expected: CPU_ENGINE, notes };
}

/** @param tolerant whether other values may be near instead of equal */
async function compareTensor(job: TensorJob, entry: TensorEntry, context: JobContext, tolerant: boolean): Promise<Diagnostic | "near" | undefined> {
  const file = await openFile(entry.file);
  const expected = job.kind === "copy" ? await openCopied(job) : await computed((await mergeTensor(job, undefined, context)).bytes);
  let near: "near" | undefined;
  try {
    for (let done = 0; done < job.byteLength; done += CHUNK_BYTES) {
      throwIfCancelled(context.signal);
      const length = Math.min(CHUNK_BYTES, job.byteLength - done);
      const [is, should] = [await file.read(entry.offset + done, length), await expected.read(done, length)];
      const at = firstOtherByte(is, should);
      if (at !== undefined && tolerant && isNear(job.dtype, is, should)) near = "near";
      else if (at !== undefined)
        return byteDifference(
          job,
          entry,
          done + at,
          [is, should].map((bytes) => bytes[at] ?? 0),
        );
      if (job.kind === "copy") context.onBytes(length);
    }
    return near;
  } finally {
    await Promise.all([file.close(), expected.close()]);
  }
}

/** NaN is near to NaN alone. */
function isNear(dtype: DType, is: Uint8Array, should: Uint8Array): boolean {
  if (!isFloat(dtype)) return false;
  const [found, expected] = [widenToFloat32(dtype, is), widenToFloat32(dtype, should)];
  const largest = expected.reduce((most, x) => Math.max(most, Number.isFinite(x) ? Math.abs(x) : 0), 0);
  const step = UNIT_ROUNDING[DTYPE_BYTES[dtype]] ?? 0;
  return expected.every((x, i) => Object.is(x, found[i]) || Math.abs(x - (found[i] as number)) <= NEARNESS * largest + step * Math.abs(x));
}

/** Relative distance of neighbouring numbers at most, by the bytes of a type: of f8_e5m2, bf16, f32 and f64. */
const UNIT_ROUNDING: Readonly<Record<number, number>> = { 1: 0.25, 2: 2 ** -7, 4: 2 ** -23, 8: 2 ** -23 };

type Chunks = Pick<ByteSource, "read" | "close">;

async function openCopied({ source }: CopyJob): Promise<Chunks> {
  const file = await openFile(source.file);
  return { read: (offset, length) => file.read(source.offset + offset, length), close: () => file.close() };
}

async function computed(bytes: Uint8Array | undefined): Promise<Chunks> {
  if (bytes === undefined) throw new TypeError("a tensor merged into memory has bytes");
  return { read: async (offset, length) => bytes.subarray(offset, offset + length), close: async () => {} };
}

function firstOtherByte(a: Uint8Array, b: Uint8Array): number | undefined {
  if (Buffer.compare(a, b) === 0) return undefined;
  return a.findIndex((byte, i) => byte !== b[i]);
}

function byteDifference(job: TensorJob, entry: TensorEntry, at: number, [is, should]: readonly number[]): Diagnostic {
  const hex = (byte: number | undefined) => `0x${(byte ?? 0).toString(16).padStart(2, "0")}`;
  const element = Math.floor(at / DTYPE_BYTES[job.dtype]);
  return {
    ...differs("rebuilt-tensor-differs", `tensor ${job.name} has other values than merging again gives`, entry.file, hex(is), hex(should)),
    notes: [`first at element ${element}, byte ${entry.offset + at} of the file; later tensors were not compared`],
  };
}
