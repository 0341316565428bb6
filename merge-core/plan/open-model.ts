// From a model reference in a recipe to an open checkpoint. Node only.
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, isAbsolute, resolve } from "node:path";
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
    const places = candidates(reference.path, dirname(recipeFile));
    const place = places.find((path) => existsSync(path));
    if (place === undefined) throw missingError(reference.path, places);
    return { ...(await openCheckpoint(place, options)), path: reference.path };
  };
}

function refuseUnsupported({ text, revision, lora }: ModelReference): void {
  if (lora !== undefined)
    throw inputError("reference-unsupported", "adapters in model references are not merged yet", {
      found: text,
      remedy: "fold the adapter into its model first and name the result",
    });
  if (revision !== undefined)
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
