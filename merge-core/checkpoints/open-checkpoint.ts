// Opens a model: reads and checks the headers of all its shards, and none of its data. Node only.
import { basename, join, resolve } from "node:path";
import { openFile } from "../bytes/file-source.ts";
import { inputError, WeightsmithError } from "../diagnostics.ts";
import { isRecord, type JsonLimits, parseJsonBytes } from "../formats/json.ts";
import { INDEX_LIMITS, parseShardIndex, type ShardIndex } from "../formats/shard-index.ts";
import { readTensorFile } from "../formats/tensor-file.ts";
import type { Checkpoint, Shard, TensorEntry } from "./checkpoint.ts";
import { findModelFiles, type ModelFiles, TENSOR_FILE } from "./model-files.ts";

/** The largest configs of the field (id2label of 20 000 classes) stay under 2 MB. */
const CONFIG_LIMITS: JsonLimits = { maxBytes: 10_000_000, maxDepth: 64, nonFinite: true };

interface OpenOptions {
  readonly signal?: AbortSignal;
}

/**
 * Opens a folder, a single .safetensors or PyTorch file, or an index.json.
 * @throws WeightsmithError `model-*` when there is no model, `shard-*`, `index-*`, `config-invalid`, and whatever is wrong with a file
 */
export async function openCheckpoint(path: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const files = await findModelFiles(path);
  const index = files.kind === "index" ? parseShardIndex(await readSmall(files.file, INDEX_LIMITS, options), files.file) : undefined;
  const shardNames = index?.files ?? [basename(files.file)];
  const shards: Shard[] = [];
  const tensors = new Map<string, TensorEntry>();
  for (const name of shardNames) {
    const { shard, entries } = await openShard(files, name, index, options);
    shards.push(shard);
    for (const entry of entries) tensors.set(entry.name, entry);
  }
  const folder = resolve(files.folder);
  return { path, folder, shards, tensors, config: await readConfig(files, options), sideFiles: sideFiles(files, shardNames) };
}

/** A whole small file. What is over the limit is cut one byte beyond it, so that the parser refuses it and memory stays bounded. */
async function readSmall(file: string, limits: JsonLimits, options: OpenOptions): Promise<Uint8Array> {
  const source = await openFile(file);
  try {
    return await source.read(0, Math.min(source.sizeBytes, limits.maxBytes + 1), options);
  } finally {
    await source.close();
  }
}

async function openShard(
  files: ModelFiles,
  name: string,
  index: ShardIndex | undefined,
  options: OpenOptions,
): Promise<{ shard: Shard; entries: TensorEntry[] }> {
  const shown = join(files.folder, name);
  const file = resolve(shown);
  const source = await openFile(file, shown).catch((error: unknown) => {
    throw error instanceof WeightsmithError && error.code === "file-missing" ? missingShardError(files, name, error) : error;
  });
  try {
    const { tensors, metadata } = await readTensorFile(source, options);
    if (index !== undefined) checkAgainstIndex(new Set(tensors.map((t) => t.name)), name, index, files);
    const entries = tensors.map(({ name, dtype, shape, begin, end }) => ({ name, dtype, shape, file, offset: begin, byteLength: end - begin }));
    return { shard: { file, sizeBytes: source.sizeBytes, metadata }, entries };
  } finally {
    await source.close();
  }
}

function missingShardError(files: ModelFiles, name: string, cause: unknown): WeightsmithError {
  return new WeightsmithError(
    {
      code: "shard-missing",
      severity: "error",
      message: `shard ${name} is missing`,
      file: files.file,
      found: files.names.filter((n) => TENSOR_FILE.test(n)).join(", ") || "no shards",
      expected: name,
      remedy: "the download is incomplete; get it again",
    },
    { cause },
  );
}

/** Index and shards must name the same tensors, or one of them is stale. */
function checkAgainstIndex(held: ReadonlySet<string>, shard: string, index: ShardIndex, files: ModelFiles): void {
  const remedy = "index and shards are of different versions; get the model again";
  for (const tensor of held) {
    const listed = index.weightMap.get(tensor);
    if (listed === shard) continue;
    throw inputError("index-tensor-unlisted", `shard ${shard} holds tensor ${tensor}, which the index does not place there`, {
      file: files.file,
      found: listed ?? "not listed",
      expected: shard,
      remedy,
    });
  }
  for (const [tensor, listed] of index.weightMap) {
    if (listed !== shard || held.has(tensor)) continue;
    throw inputError("index-tensor-missing", `shard ${shard} lacks tensor ${tensor}, which the index places there`, { file: files.file, remedy });
  }
}

/** The parsed config.json of a model, if there is one. @throws WeightsmithError `config-invalid`, `json-*` */
export async function readConfig(files: Pick<ModelFiles, "folder" | "names">, options: OpenOptions): Promise<Checkpoint["config"]> {
  if (!files.names.includes("config.json")) return undefined;
  const file = join(files.folder, "config.json");
  const config = parseJsonBytes(await readSmall(file, CONFIG_LIMITS, options), file, CONFIG_LIMITS);
  if (isRecord(config)) return config;
  throw inputError("config-invalid", "config.json is not an object", { file });
}

function sideFiles(files: ModelFiles, shards: readonly string[]): string[] {
  const known = new Set([...shards, basename(files.file), "config.json"]);
  return files.names.filter((name) => !known.has(name));
}
