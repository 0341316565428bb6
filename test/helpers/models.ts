// Tiny models on disk.
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { narrowFromFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import type { FloatDType } from "../../merge-core/formats/dtypes.ts";
import { encodeSafetensors, layoutFile, type TensorSpec } from "../../merge-core/formats/safetensors-write.ts";
import { formatShardIndex } from "../../merge-core/formats/shard-index.ts";
import { temporaryFolder } from "./folders.ts";

export type TensorData = TensorSpec & { readonly data: Uint8Array };

/** A float tensor from its values. */
export function floatTensor(name: string, shape: readonly number[], values: readonly number[] | Float32Array, dtype: FloatDType = "F32"): TensorData {
  return { name, dtype, shape, data: narrowFromFloat32(dtype, Float32Array.from(values)) };
}

export interface ModelOptions {
  readonly folder?: string;
  readonly config?: unknown;
  /** Further files, name to text. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Writes a model into a folder (a fresh one by default): one file, or one shard per list given. Returns the folder. */
export function writeModel(shards: readonly TensorData[] | readonly (readonly TensorData[])[], options: ModelOptions = {}): string {
  const folder = options.folder ?? temporaryFolder();
  mkdirSync(folder, { recursive: true });
  if (options.config !== undefined) writeFileSync(join(folder, "config.json"), JSON.stringify(options.config, null, 2));
  for (const [name, text] of Object.entries(options.files ?? {})) writeFileSync(join(folder, name), text);
  if (isSharded(shards)) writeShards(folder, shards);
  else writeFileSync(join(folder, "model.safetensors"), encodeSafetensors(shards as readonly TensorData[]));
  return folder;
}

/** A model of zeros that takes no room on disk, for tests of size alone. */
export function writeHollowModel(tensors: readonly TensorSpec[]): string {
  const folder = temporaryFolder();
  const file = join(folder, "model.safetensors");
  const { header, sizeBytes } = layoutFile(tensors);
  writeFileSync(file, header);
  truncateSync(file, sizeBytes);
  return folder;
}

function isSharded(shards: readonly TensorData[] | readonly (readonly TensorData[])[]): shards is readonly (readonly TensorData[])[] {
  return Array.isArray(shards[0]);
}

function writeShards(folder: string, shards: readonly (readonly TensorData[])[]): void {
  const map = new Map<string, string>();
  for (const [i, tensors] of shards.entries()) {
    const name = `model-${String(i + 1).padStart(5, "0")}-of-${String(shards.length).padStart(5, "0")}.safetensors`;
    writeFileSync(join(folder, name), encodeSafetensors(tensors));
    for (const tensor of tensors) map.set(tensor.name, name);
  }
  const size = shards.flat().reduce((sum, t) => sum + t.data.byteLength, 0);
  writeFileSync(join(folder, "model.safetensors.index.json"), formatShardIndex(map, size, 0));
}
