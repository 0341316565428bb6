// From a model reference in a recipe to an open checkpoint. Node only.
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { adaptCheckpoint } from "../adapters/adapted-checkpoint.ts";
import { otherBase } from "../adapters/common-ground.ts";
import { CONFIG, readAdapterConfig } from "../adapters/peft-config.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { cachedNames, cachedSnapshot, type Environment, hubCacheFolder, isHubName } from "../checkpoints/hub-cache.ts";
import { downloadModel } from "../checkpoints/hub-download.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import type { ModelReference } from "../recipe/recipe.ts";

/** Opens the model that a recipe names. */
export type OpenModel = (reference: ModelReference) => Promise<Checkpoint>;

export interface OpenerOptions {
  readonly signal?: AbortSignal | undefined;
  /** Fetch hub models that are neither on disk nor in the cache; the network is used for nothing else. */
  readonly download?: boolean | undefined;
  readonly onDownload?: ((file: string, doneBytes: number, totalBytes: number) => void) | undefined;
  /** Where the cache's place, the hub's address and its token are read from. */
  readonly env?: Environment;
}

/**
 * Paths are relative to the current folder, as the field's tools have it, and to the recipe's folder where there is
 * nothing in the current one. What is not on disk is a name on the Hugging Face hub, looked for in its cache.
 * @throws WeightsmithError `model-missing` with what was looked for, `revision-of-path`, `hub-*`, and whatever opening a checkpoint throws
 */
export function modelOpener(recipeFile: string, options: OpenerOptions = {}): OpenModel {
  const find = (part: Part) => findPlace(part, dirname(recipeFile), options);
  const open = options.signal === undefined ? {} : { signal: options.signal };
  return async ({ text, path, revision, lora }) => {
    const base = { ...(await openCheckpoint(await find({ path, revision }), open)), path };
    if (lora === undefined) return base;
    const folder = await find(lora);
    const adapted = await adaptCheckpoint(base, folder, open);
    const config = join(folder, CONFIG);
    return { ...adapted, path: text, findings: otherBase(await readAdapterConfig(config), path, config) };
  };
}

/** A model or an adapter of a reference. */
interface Part {
  readonly path: string;
  readonly revision?: string | undefined;
}

async function findPlace(part: Part, recipeFolder: string, options: OpenerOptions): Promise<string> {
  const { path, revision } = part;
  const places = candidates(path, recipeFolder);
  const place = places.find((candidate) => existsSync(candidate));
  if (place === undefined) return findOnHub(part, places, options);
  if (revision === undefined) return place;
  throw inputError("revision-of-path", "a path on disk has no revisions", {
    found: `${path}@${revision}`,
    remedy: "leave the revision out; if a hub model is meant, move the folder of its name away",
    notes: [`there is ${place}`],
  });
}

async function findOnHub({ path, revision }: Part, places: readonly string[], options: OpenerOptions): Promise<string> {
  const { env = process.env, onDownload, signal } = options;
  const cache = hubCacheFolder(env);
  const snapshot = cachedSnapshot(cache, path, revision);
  if (snapshot !== undefined) return snapshot;
  if (!isHubName(path) || options.download !== true) throw missingError({ path, revision }, places, cache);
  return downloadModel({ name: path, revision, cache, env, signal, ...(onDownload && { onProgress: onDownload }) });
}

function candidates(path: string, recipeFolder: string): string[] {
  return isAbsolute(path) ? [path] : [...new Set([resolve(path), resolve(recipeFolder, path)])];
}

function missingError({ path, revision }: Part, places: readonly string[], cache: string) {
  const near = places.map(nearMiss).find((name) => name !== undefined) ?? nearestName(path, cachedNames(cache));
  const hub = isHubName(path) && (path.includes("/") || revision !== undefined);
  const flag = revision === undefined ? "" : ` --revision ${revision}`;
  const advice = hub ? `to fetch it from the Hugging Face hub, run again with --download, or first: hf download ${path}${flag}` : "check the path";
  return inputError("model-missing", hub ? "there is no model at this path, and none of this name in the hub's cache" : "there is no model at this path", {
    found: revision === undefined ? path : `${path}@${revision}`,
    expected: "a folder, a .safetensors file, an index.json, or a name on the Hugging Face hub",
    remedy: near === undefined ? advice : `did you mean ${near}?${hub ? ` Otherwise, ${advice}` : ""}`,
    notes: [...places.map((place) => `looked for ${place}`), ...(hub ? [`looked into ${cache}`] : [])],
  });
}

/** A neighbour of the missing path with nearly its name. */
function nearMiss(path: string): string | undefined {
  const folder = dirname(path);
  const near = existsSync(folder) ? nearestName(basename(path), readdirSync(folder)) : undefined;
  return near === undefined ? undefined : resolve(folder, near);
}
