// The cell `yaml compare`: what it asks for, and what it tells.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Comparison } from "../../analysis/comparison.ts";
import type { CompareOutput } from "../../notebook/cell-output.ts";
import { configError, configPlace, parseConfigValues } from "../../pareto/config-values.ts";
import { MANIFEST_FILE } from "../../run/work-folder.ts";
import { fromHere } from "./output-folders.ts";

/** As of `weightsmith compare`. */
const DEFAULT_DENSITY = 0.2;

export interface CompareRequest {
  readonly base: string | undefined;
  readonly models: readonly string[];
  readonly density: number;
}

/** @param file diagnostics call it, and paths are relative to it @throws WeightsmithError `config-*`, `yaml-syntax` */
export function readCompareCell(text: string, file: string): CompareRequest {
  const place = configPlace(file);
  const { base, models, density = DEFAULT_DENSITY } = parseConfigValues(text, file, ["base", "models", "density"]);
  if (base !== undefined && typeof base !== "string") throw configError(place, "base", base, "a model's path");
  const least = base === undefined ? 2 : 1;
  if (!Array.isArray(models) || models.length < least || !models.every((model): model is string => typeof model === "string"))
    throw configError(place, "models", models, base === undefined ? "a list of two models or more, or a base too" : "a list of models");
  if (!(typeof density === "number" && density > 0 && density <= 1)) throw configError(place, "density", density, "a number above 0 and at most 1");
  return { base: base && place.resolve(base), models: models.map(place.resolve), density };
}

/** Says which models are merges, as pictures tell them from what they were made of, and names all as seen from the notebook. */
export function compareOutput(comparison: Comparison, base: string | undefined, models: readonly string[]): CompareOutput {
  const merges = models.flatMap((path, i) => (existsSync(join(path, MANIFEST_FILE)) ? [i] : []));
  const named = { ...comparison, models: models.map(fromHere), ...(base !== undefined && { base: fromHere(base) }) };
  return { kind: "compare", comparison: merges.length === 0 ? named : { ...named, merges } };
}
