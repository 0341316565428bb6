// Merge plans put together without the planner, so that a test of the run depends on the run alone.
import { createHash } from "node:crypto";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { isFloat } from "../../merge-core/formats/dtypes.ts";
import { layoutFile } from "../../merge-core/formats/safetensors-write.ts";
import type { CopyJob, MergeJob, MergePlan, TensorRef } from "../../merge-core/plan/plan.ts";

export interface PlanRequest {
  readonly method: string;
  /** Model folders; the first gives names, shapes, dtypes and side files. */
  readonly models: readonly string[];
  readonly baseFolder?: string;
  /** Parameters of each model. */
  readonly modelParameters?: readonly Readonly<Record<string, number | null>>[];
  readonly parameters?: Readonly<Record<string, number | null>>;
  /** Tensors per output shard. */
  readonly perShard?: number;
  readonly seed?: number;
  readonly config?: MergePlan["config"];
  readonly donorFiles?: readonly string[];
}

/** A plan that merges tensors of the same name; integers, and everything under `passthrough`, are copied. */
export async function planByHand(request: PlanRequest): Promise<MergePlan> {
  const { method, models, perShard = Number.POSITIVE_INFINITY, seed = 0 } = request;
  const checkpoints = await Promise.all(models.map((folder) => openCheckpoint(folder)));
  const [first] = checkpoints;
  if (first === undefined) throw new Error("a plan needs a model");
  const tensors = [...first.tensors.values()];
  const groups: (typeof tensors)[] = [];
  for (const [i, tensor] of tensors.entries()) {
    if (i % perShard === 0) groups.push([]);
    groups.at(-1)?.push(tensor);
  }
  const pad = (n: number) => String(n).padStart(5, "0");
  const shards = groups.map((group, i) => {
    const layout = layoutFile(group.map(({ name, dtype, shape }) => ({ name, dtype, shape })));
    return {
      file: groups.length === 1 ? "model.safetensors" : `model-${pad(i + 1)}-of-${pad(groups.length)}.safetensors`,
      headerBytes: layout.header.byteLength,
      sizeBytes: layout.sizeBytes,
      metadata: { format: "pt" },
      tensors: layout.tensors.map(({ name, dtype, shape, begin, end }) => ({ name, dtype, shape, offset: begin, byteLength: end - begin })),
    };
  });
  const refOf = (model: number, name: string): TensorRef => {
    const entry = checkpoints[model]?.tensors.get(name);
    if (entry === undefined) throw new Error(`model ${model} lacks ${name}`);
    return { name, file: entry.file, offset: entry.offset, byteLength: entry.byteLength, dtype: entry.dtype, shape: entry.shape };
  };
  const jobs = shards.flatMap((shard, shardIndex) =>
    shard.tensors.map(({ dtype, ...place }): MergeJob | CopyJob => {
      const at = { ...place, shard: shardIndex };
      if (method === "passthrough" || !isFloat(dtype)) return { ...at, kind: "copy", dtype, source: refOf(0, place.name) };
      const inputs = models.map((model, modelIndex) => {
        const ref = refOf(modelIndex, place.name);
        if (!isFloat(ref.dtype)) throw new Error(`${place.name} is not floating point`);
        return { ...ref, dtype: ref.dtype, model, modelIndex, isBase: model === request.baseFolder, parameters: request.modelParameters?.[modelIndex] ?? {} };
      });
      return { ...at, kind: "merge", dtype, method, inputs, parameters: request.parameters ?? {} };
    }),
  );
  const bytesToWrite = shards.reduce((sum, shard) => sum + shard.sizeBytes, 0);
  const text = `merge_method: ${method}\n`;
  const sha256 = (value: unknown) => createHash("sha256").update(JSON.stringify(value)).digest("hex");
  return {
    version: 1,
    recipe: { file: "recipe.yml", text, sha256: sha256(text) },
    method,
    seed,
    models: checkpoints.map(({ path, folder, shards: files }) => ({
      reference: path,
      folder,
      files: files.map(({ file, sizeBytes }) => ({ file, sizeBytes })),
    })),
    donor: { reference: first.path, folder: first.folder, files: request.donorFiles ?? first.sideFiles, hasConfig: first.config !== undefined },
    config: request.config ?? [],
    shards,
    jobs,
    bytesToRead: 0,
    bytesToWrite,
    peakMemoryBytes: 0,
    diskBytes: bytesToWrite,
    findings: [],
    planHash: sha256([method, seed, shards, jobs]),
  };
}
