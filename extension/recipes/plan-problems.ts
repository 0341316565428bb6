// What planning finds in a recipe file, from the headers of its models.
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener, type OpenModel } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import type { ParsedStages } from "../../merge-core/recipe/stages.ts";
import { planStages } from "../../merge-core/run/plan-stages.ts";
import type { ModelLibrary } from "../models/library.ts";
import { diagnosticsOf } from "../panels/page-channel.ts";

/** Findings from the headers of the models that a file's recipes name; none for a file with errors of its own. */
export async function planProblems({ stages = [], final }: ParsedStages, file: string, library: ModelLibrary): Promise<readonly Diagnostic[]> {
  if (final === undefined) return [];
  const open = libraryOpener(file, library);
  const planning = stages.length === 1 ? planMerge(final.recipe, open) : planStages({ stages, final, open, options: {} }, `${file}.stages`);
  return planning.then((result) => result.diagnostics, diagnosticsOf);
}

/** Models beside the recipe, their headers read once. Runs start in the recipe's folder, so that is what paths are relative to. */
function libraryOpener(recipeFile: string, library: ModelLibrary): OpenModel {
  const open = modelOpener(recipeFile);
  return (reference) => {
    const path = resolve(dirname(recipeFile), reference.path);
    return existsSync(path) ? library.remember(`${path}\n${reference.text}`, () => open({ ...reference, path })) : open(reference);
  };
}
