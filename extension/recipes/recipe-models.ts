// The models a recipe names, as files beside it.
import { existsSync } from "node:fs";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";

/** The path that a reference means for a recipe in `folder`; undefined for one with an adapter or a revision, which names no folder. */
export function modelPath(folder: string, reference: string): string | undefined {
  return /[@+]/.test(reference) ? undefined : resolve(folder, reference);
}

/** How a recipe in `folder` names a model: relative when it is near, for recipes that move with their models. */
export function referenceTo(folder: string, path: string): string {
  const near = relative(folder, path).split(sep).join("/");
  return isAbsolute(near) || near.startsWith("../../../") || near === "" ? path : near.startsWith(".") ? near : `./${near}`;
}

/** References in a recipe's text that name something on disk, in order of appearance. */
export function referencesIn(text: string): string[] {
  const found = [...text.matchAll(/\b(?:model|base_model|path)\s*:\s*["']?([^"'#\n,}]+)/g)].map((match) => (match[1] ?? "").trim());
  return [...new Set(found)].filter((reference) => reference !== "");
}

/** Paths of the models that a recipe names and that are there. */
export function modelPathsIn(text: string, recipeFile: string): string[] {
  return referencesIn(text).flatMap((reference) => {
    const path = modelPath(dirname(recipeFile), reference);
    return path !== undefined && existsSync(path) ? [path] : [];
  });
}
