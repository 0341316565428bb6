// What adapter_config.json says of an adapter, for the page of its tensors.
import { join } from "node:path";
import { openFile } from "../../merge-core/bytes/file-source.ts";
import type { Checkpoint } from "../../merge-core/checkpoints/checkpoint.ts";
import { inputError } from "../../merge-core/diagnostics.ts";
import { isRecord, parseJsonBytes } from "../../merge-core/formats/json.ts";

const CONFIG = "adapter_config.json";
/** Lists of target modules of the largest models stay under 1 MB. */
const LIMITS = { maxBytes: 10_000_000, maxDepth: 32 };

/** The settings that are set to something, in the file's order; undefined for a checkpoint that is no adapter. */
export async function readAdapterFacts({ folder, sideFiles }: Checkpoint, signal?: AbortSignal): Promise<Record<string, unknown> | undefined> {
  if (!sideFiles.includes(CONFIG)) return undefined;
  const file = join(folder, CONFIG);
  const source = await openFile(file);
  try {
    const bytes = await source.read(0, Math.min(source.sizeBytes, LIMITS.maxBytes + 1), signal && { signal });
    const json = parseJsonBytes(bytes, file, LIMITS);
    if (!isRecord(json)) throw inputError("adapter-config-invalid", "adapter_config.json is not an object", { file });
    return Object.fromEntries(Object.entries(json).filter(([, value]) => !isUnset(value)));
  } finally {
    await source.close();
  }
}

const isUnset = (value: unknown): boolean => value === null || value === false || (typeof value === "object" && Object.keys(value).length === 0);
