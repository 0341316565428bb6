// From a model reference in a recipe to an open checkpoint. Node only.
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, isAbsolute, resolve } from "node:path";
import { adaptCheckpoint } from "../adapters/adapted-checkpoint.ts";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { inputError, nearestName } from "../diagnostics.ts";
import type { ModelReference } from "../recipe/recipe.ts";

/** Opens the model that a recipe names. */
export type OpenModel = (reference: ModelReference) => Promise<Checkpoint>;

/**
 * Paths are relative to the current folder, as the field's tools have it, and to the recipe's folder where there is
 * nothing in the current one.
 * @throws WeightsmithError `model-missing` with what was looked for, `reference-unsupported`, and whatever opening a checkpoint throws
 */
export function modelOpener(recipeFile: string, options: { readonly signal?: AbortSignal } = {}): OpenModel {
  return async (reference) => {
    refuseUnsupported(reference);
    const find = (path: string) => findPlace(path, dirname(recipeFile));
    const base = { ...(await openCheckpoint(find(reference.path), options)), path: reference.path };
    return reference.lora === undefined ? base : { ...(await adaptCheckpoint(base, find(reference.lora.path), options)), path: reference.text };
  };
}

function findPlace(path: string, recipeFolder: string): string {
  const places = candidates(path, recipeFolder);
  const place = places.find((candidate) => existsSync(candidate));
  if (place === undefined) throw missingError(path, places);
  return place;
}

function refuseUnsupported({ text, revision, lora }: ModelReference): void {
  if (revision !== undefined || lora?.revision !== undefined)
    throw inputError("reference-unsupported", "a revision needs a hub name, and models are read from disk only", {
      found: text,
      remedy: "download that revision and name its folder",
    });
}

function candidates(path: string, recipeFolder: string): string[] {
  return isAbsolute(path) ? [path] : [...new Set([resolve(path), resolve(recipeFolder, path)])];
}

function missingError(path: string, places: readonly string[]) {
  const near = places.map(nearMiss).find((name) => name !== undefined);
  const hubName = /^[\w.-]+\/[\w.-]+$/.test(path) && !path.startsWith(".");
  const advice = hubName ? `if this is a hub name, download the model first: hf download ${path} --local-dir ${path}` : "check the path";
  return inputError("model-missing", "there is no model at this path", {
    found: path,
    expected: "a folder, a .safetensors file or an index.json",
    remedy: near === undefined ? advice : `did you mean ${near}?`,
    notes: places.map((place) => `looked for ${place}`),
  });
}

/** A neighbour of the missing path with nearly its name. */
function nearMiss(path: string): string | undefined {
  const folder = dirname(path);
  const near = existsSync(folder) ? nearestName(basename(path), readdirSync(folder)) : undefined;
  return near === undefined ? undefined : resolve(folder, near);
}
