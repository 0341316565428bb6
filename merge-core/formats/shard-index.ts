// model.safetensors.index.json: which shard holds which tensor.
import { inputError } from "../diagnostics.ts";
import { isRecord, type JsonLimits, parseJsonBytes } from "./json.ts";

/** One line per tensor, like a header; the same bound. */
export const INDEX_LIMITS: JsonLimits = { maxBytes: 100_000_000, maxDepth: 16 };

export interface ShardIndex {
  /** Tensor name to file name, which is a plain name in the folder of the index. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** Distinct file names, sorted. */
  readonly files: readonly string[];
}

/** @throws WeightsmithError `index-invalid`, `shard-name-unsafe`, `json-*` */
export function parseShardIndex(bytes: Uint8Array, file: string): ShardIndex {
  const json = parseJsonBytes(bytes, file, INDEX_LIMITS);
  const map = isRecord(json) ? json.weight_map : undefined;
  if (!isRecord(map)) throw inputError("index-invalid", "index has no weight_map", { file, expected: "an object from tensor names to file names" });
  const weightMap = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(map)) weightMap.set(tensor, checkShardName(shard, tensor, file));
  if (weightMap.size === 0) throw inputError("index-invalid", "index names no tensors", { file });
  return { weightMap, files: [...new Set(weightMap.values())].sort() };
}

/** An index must not reach outside its folder: no separators, parent folders, drive letters, schemes or control characters. */
function checkShardName(shard: unknown, tensor: string, file: string): string {
  if (typeof shard !== "string") throw inputError("index-invalid", `shard of tensor ${tensor} is not a string`, { file, found: JSON.stringify(shard) });
  const plain = shard.length > 0 && shard.length <= 255 && shard !== "." && shard !== ".." && !/[/\\:]/.test(shard) && [...shard].every((c) => c >= " ");
  if (plain) return shard;
  throw inputError("shard-name-unsafe", `shard of tensor ${tensor} is not a plain file name`, {
    file,
    found: JSON.stringify(shard),
    expected: "a file name in the folder of the index",
  });
}

/** The text of an index as the Hugging Face libraries write it, tensors sorted by name. */
export function formatShardIndex(weightMap: ReadonlyMap<string, string>, totalSizeBytes: number, totalParameters: number): string {
  const sorted = [...weightMap].sort(([a], [b]) => (a < b ? -1 : 1));
  const lines = sorted.map(([tensor, shard]) => `    ${JSON.stringify(tensor)}: ${JSON.stringify(shard)}`);
  return `{\n  "metadata": {\n    "total_parameters": ${totalParameters},\n    "total_size": ${totalSizeBytes}\n  },\n  "weight_map": {\n${lines.join(",\n")}\n  }\n}\n`;
}
