// Measured numbers by what they depend on, kept in a file that only ever grows: a measurement is never taken twice, and a killed
// search loses nothing. Node only.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { appendFile, mkdir, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { errorCode, openError } from "../bytes/file-source.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import type { TensorData } from "../nn/load.ts";
import type { MetricSpec } from "./metric-spec.ts";

export interface ScoreCache {
  get(weights: string, metric: string): number | undefined;
  put(weights: string, metric: string, name: string, value: number): Promise<void>;
}

/** A cache in memory, or in a JSONL file too. A last line cut short by a kill is passed over. */
export async function openScoreCache(file?: string): Promise<ScoreCache> {
  const values = new Map<string, number>();
  if (file !== undefined) for (const [key, value] of await readLines(file)) values.set(key, value);
  return {
    get: (weights, metric) => values.get(`${weights}/${metric}`),
    async put(weights, metric, name, value) {
      values.set(`${weights}/${metric}`, value);
      if (file === undefined) return;
      await mkdir(dirname(file), { recursive: true });
      // The line break comes first, so that a line cut short spoils only itself.
      await appendFile(file, `\n${JSON.stringify({ weights, metric, name, value })}`);
    },
  };
}

async function readLines(file: string): Promise<[string, number][]> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return "";
    throw openError(file, error);
  });
  return text.split("\n").flatMap((line): [string, number][] => {
    try {
      const { weights, metric, value } = JSON.parse(line) as Record<string, unknown>;
      return typeof value === "number" ? [[`${String(weights)}/${String(metric)}`, value]] : [];
    } catch {
      return [];
    }
  });
}

/** sha256 over names, dtypes, shapes and bytes, in the order of names: the same for tensors in memory and on disk. */
export function hashTensors(tensors: ReadonlyMap<string, TensorData>): string {
  const hash = createHash("sha256");
  for (const [name, { dtype, shape, data }] of byName(tensors)) hash.update(describe(name, dtype, shape)).update(data);
  return hash.digest("hex");
}

/** `hashTensors` of a checkpoint on disk, read piece by piece. */
export async function hashCheckpoint(checkpoint: Checkpoint, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  for (const [name, { dtype, shape, file, offset, byteLength }] of byName(checkpoint.tensors)) {
    throwIfCancelled(signal);
    hash.update(describe(name, dtype, shape));
    // An end before the start would stand for the whole file.
    if (byteLength > 0) for await (const chunk of openStream(file, { start: offset, end: offset + byteLength - 1 })) hash.update(chunk);
  }
  return hash.digest("hex");
}

const byName = <T>(map: ReadonlyMap<string, T>): [string, T][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
const describe = (name: string, dtype: string, shape: readonly number[]): string => `${name}\0${dtype}\0${shape.join()}\0`;

/** sha256 of everything that decides the number besides the weights: the metric with its settings, and the content of its files. */
export async function hashMetric(spec: MetricSpec): Promise<string> {
  const hash = createHash("sha256");
  const { name: _name, direction: _direction, ...decisive } = spec;
  hash.update(JSON.stringify(spec.kind === "builtin" ? { ...decisive, data: undefined } : decisive));
  return hash.update(await hashFiles(await filesOf(spec))).digest("hex");
}

/** sha256 of the content of files, one after the other. */
export async function hashFiles(files: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) for await (const chunk of openStream(file)) hash.update(chunk);
  return hash.digest("hex");
}

/** Data files; of a command, the arguments that are files, so that a changed script is run again. */
async function filesOf(spec: MetricSpec): Promise<readonly string[]> {
  if (spec.kind === "builtin") return spec.data;
  if (spec.kind === "harness" || typeof spec.command === "string") return [];
  const stats = await Promise.all(spec.command.map((part) => stat(part).catch(() => undefined)));
  return spec.command.filter((_, i) => stats[i]?.isFile());
}

async function* openStream(file: string, range: { start?: number; end?: number } = {}): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of createReadStream(file, range)) yield chunk as Buffer;
  } catch (error) {
    throw openError(file, error);
  }
}
