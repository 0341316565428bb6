import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { openError } from "../bytes/file-source.ts";
import { inputError } from "../diagnostics.ts";
import { layoutFile } from "../formats/safetensors-write.ts";
import type { MergePlan, OutputShard } from "../plan/plan.ts";

/** Creates every shard at its final size with its header written, so that tensors can be written in any order. Tensor bytes already there stay. */
export async function prepareShards(shards: readonly OutputShard[], folder: string): Promise<void> {
  for (const shard of shards) await prepareShard(shard, join(folder, shard.file));
}

async function prepareShard(shard: OutputShard, file: string): Promise<void> {
  const { header, sizeBytes } = layoutFile(shard.tensors, shard.metadata);
  if (header.byteLength !== shard.headerBytes || sizeBytes !== shard.sizeBytes) throw new Error(`the plan's layout of ${shard.file} is not the writer's`);
  // Mode "a" creates without cutting off what an earlier run wrote; writing at a position needs another.
  await (await open(file, "a")).close();
  const handle = await open(file, "r+");
  try {
    await handle.write(header, 0, header.byteLength, 0);
    await handle.truncate(sizeBytes);
  } finally {
    await handle.close();
  }
}

/** @throws WeightsmithError `journal-damaged` if a shard that the journal speaks of is not there as it was left */
export async function checkShards(shards: readonly OutputShard[], finished: ReadonlyMap<string, unknown>, folder: string): Promise<void> {
  for (const shard of shards) {
    if (!shard.tensors.some((tensor) => finished.has(tensor.name))) continue;
    const size = (await stat(join(folder, shard.file)).catch(() => undefined))?.size;
    if (size === shard.sizeBytes) continue;
    throw inputError("journal-damaged", `shard ${shard.file} of the unfinished run is missing or changed`, {
      file: folder,
      found: `${size ?? "no"} bytes`,
      expected: `${shard.sizeBytes} bytes`,
      remedy: "run with --overwrite to start anew",
    });
  }
}

/**
 * Sizes and modification times of all inputs, hashed: a run must not go on where another version of an input left off.
 * @throws WeightsmithError `input-changed` if a file is not as the plan saw it
 */
export async function fingerprintInputs(plan: MergePlan): Promise<string> {
  const hash = createHash("sha256");
  for (const { file, sizeBytes } of plan.models.flatMap((model) => model.files)) {
    const stats = await stat(file).catch((error: unknown) => {
      throw openError(file, error);
    });
    if (stats.size !== sizeBytes) {
      throw inputError("input-changed", "input changed since the plan was made", {
        file,
        found: `${stats.size} bytes`,
        expected: `${sizeBytes} bytes`,
        remedy: "plan again, and let nothing write to the inputs",
      });
    }
    hash.update(`${file}\0${stats.size}\0${stats.mtimeMs}\0`);
  }
  return hash.digest("hex");
}
