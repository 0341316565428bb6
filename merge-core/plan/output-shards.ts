// Where every output byte goes: tensors dealt to shards in order, each shard laid out, each job given its place.
import { DTYPE_BYTES } from "../formats/dtypes.ts";
import { layoutFile, PYTORCH_METADATA } from "../formats/safetensors-write.ts";
import type { UnplacedJob } from "./build-jobs.ts";
import type { OutputShard, TensorJob } from "./plan.ts";

/** Deals jobs to shards of at most `shardBytes` of tensor data (a larger tensor has one to itself). */
export function placeJobs(unplaced: readonly UnplacedJob[], shardBytes: number): { shards: OutputShard[]; jobs: TensorJob[] } {
  const groups = deal(unplaced, shardBytes);
  const placed = groups.map((group, i) => placeInShard(group, i, shardName(i, groups.length)));
  return { shards: placed.map(({ shard }) => shard), jobs: placed.flatMap(({ jobs }) => jobs) };
}

function deal(jobs: readonly UnplacedJob[], shardBytes: number): UnplacedJob[][] {
  const groups: UnplacedJob[][] = [];
  let filled = Number.POSITIVE_INFINITY;
  for (const job of jobs) {
    if (filled + job.byteLength > shardBytes) {
      groups.push([]);
      filled = 0;
    }
    groups.at(-1)?.push(job);
    filled += job.byteLength;
  }
  return groups;
}

function shardName(index: number, count: number): string {
  const digits = (n: number) => String(n).padStart(5, "0");
  return count === 1 ? "model.safetensors" : `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

/** Wider elements come first, so that every tensor starts at a multiple of its element size; otherwise order is kept. */
function placeInShard(group: readonly UnplacedJob[], shard: number, file: string): { shard: OutputShard; jobs: TensorJob[] } {
  const ordered = [...group].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]);
  const layout = layoutFile(ordered, PYTORCH_METADATA);
  const offsets = layout.tensors.map(({ begin }) => begin);
  const jobs = ordered.map((job, i) => ({ ...job, shard, offset: offsets[i] ?? 0 }));
  const tensors = jobs.map(({ name, dtype, shape, offset, byteLength }) => ({ name, dtype, shape, offset, byteLength }));
  return { shard: { file, headerBytes: layout.header.byteLength, sizeBytes: layout.sizeBytes, metadata: PYTORCH_METADATA, tensors }, jobs };
}
