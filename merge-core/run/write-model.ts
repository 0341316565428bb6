// Writes a model whose tensors a command makes itself, one after the other, as a merge is written: laid out beforehand, beside its
// config and tokenizer, with a manifest, and visible only when it is complete. Node only.
import { open, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { type Diagnostic, throwIfCancelled } from "../diagnostics.ts";
import { placeJobs } from "../plan/output-shards.ts";
import type { ConfigChange, MergePlan } from "../plan/plan.ts";
import { planHash, sha256 } from "../plan/plan-hash.ts";
import { travellingFiles } from "../plan/side-files.ts";
import { VERSION } from "../version.ts";
import { buildManifest } from "./manifest.ts";
import { prepareShards } from "./shard-files.ts";
import { ShardHashes } from "./shard-hashes.ts";
import { recipeFileOf, writeSideFiles } from "./side-files.ts";
import { checkDiskSpace, checkOutput, JOURNAL_FILE, MANIFEST_FILE, openWorkFolder } from "./work-folder.ts";

export interface ModelRequest {
  /** What makes the model, as the manifest names it; see `recipeFileOf`. */
  readonly method: string;
  /** Settings, kept beside the tensors. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly seed: number;
  /** All that is read; the first gives config, tokenizer, and names, shapes and dtypes of all tensors. */
  readonly models: readonly [Checkpoint, ...Checkpoint[]];
  readonly config?: readonly ConfigChange[];
  readonly out: string;
  readonly overwrite: boolean;
  readonly shardBytes?: number | undefined;
  readonly findings?: readonly Diagnostic[];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneBytes: number, totalBytes: number, tensor: string) => void) | undefined;
}

const DEFAULT_SHARD_BYTES = 5e9;

/**
 * @param make a tensor's bytes, of the length that the first model has
 * @param more writes what else belongs into the folder, once all tensors are there
 * @throws WeightsmithError `output-*`, `disk-space`, `cancelled`, what `make` throws
 */
export async function writeModel(
  request: ModelRequest,
  make: (entry: TensorEntry) => Promise<Uint8Array>,
  more: (folder: string) => Promise<void> = async () => {},
): Promise<readonly Diagnostic[]> {
  const { out, overwrite, signal } = request;
  const plan = planOf(request);
  const output = { out, overwrite, inputs: plan.models.flatMap(({ files }) => files.map(({ file }) => file)) };
  await checkOutput(output);
  await checkDiskSpace(out, plan.diskBytes);
  const work = await openWorkFolder(output, () => false);
  try {
    await writeFile(join(work.path, JOURNAL_FILE), `${JSON.stringify({ weightsmith: VERSION, writes: request.method })}\n`);
    await prepareShards(plan.shards, work.path);
    const hashes = new ShardHashes(plan.shards, work.path, { enabled: true, signal });
    try {
      await writeTensors(plan, work.path, request, make, hashes);
    } finally {
      await Promise.allSettled([hashes.all()]);
    }
    throwIfCancelled(signal);
    await writeSideFiles(plan, work.path, out);
    await more(work.path);
    const manifest = await buildManifest(plan, work.path, await hashes.all(), request.findings ?? []);
    await writeFile(join(work.path, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`);
    return await work.finish();
  } finally {
    await work.release();
  }
}

function planOf({ method, settings, seed, models, config = [], shardBytes = DEFAULT_SHARD_BYTES, findings = [] }: ModelRequest): MergePlan {
  const [first] = models;
  const unplaced = [...first.tensors.values()].map((source) => {
    const { name, dtype, shape, byteLength } = source;
    return { kind: "copy", name, dtype, shape, byteLength, source } as const;
  });
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  const decided = {
    version: 1,
    recipe: { file: recipeFileOf(method), text, sha256: sha256(text) },
    method,
    seed,
    models: models.map(({ path, folder, shards }) => ({
      reference: path,
      folder: resolve(folder),
      files: shards.map(({ file, sizeBytes }) => ({ file, sizeBytes })),
    })),
    donor: { reference: first.path, folder: resolve(first.folder), files: travellingFiles(first.sideFiles), hasConfig: first.config !== undefined },
    config,
    ...placeJobs(unplaced, shardBytes),
  } as const;
  const bytes = decided.shards.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { ...decided, bytesToRead: bytes, bytesToWrite: bytes, peakMemoryBytes: 0, diskBytes: bytes, findings, planHash: planHash(decided) };
}

async function writeTensors(
  plan: MergePlan,
  folder: string,
  { models: [first], signal, onProgress }: ModelRequest,
  make: (entry: TensorEntry) => Promise<Uint8Array>,
  hashes: ShardHashes,
): Promise<void> {
  let done = 0;
  for (const [i, shard] of plan.shards.entries()) {
    const handle = await open(join(folder, shard.file), "r+");
    try {
      for (const { name, offset, byteLength } of shard.tensors) {
        throwIfCancelled(signal);
        onProgress?.(done, plan.bytesToWrite, name);
        const bytes = await make(first.tensors.get(name) as TensorEntry);
        if (bytes.byteLength !== byteLength) throw new RangeError(`tensor ${name} was made with ${bytes.byteLength} bytes in place of ${byteLength}`);
        for (let at = 0; at < byteLength; ) at += (await handle.write(bytes, at, byteLength - at, offset + at)).bytesWritten;
        done += byteLength;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    hashes.written(i, shard.sizeBytes);
  }
}
