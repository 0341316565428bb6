// A recipe's text, carried out: what `weightsmith merge` does, for programs that make many merges. Node only.
import { WeightsmithError } from "../diagnostics.ts";
import { modelOpener } from "../plan/open-model.ts";
import { planMerge } from "../plan/plan-merge.ts";
import { parseRecipe } from "../recipe/parse-recipe.ts";
import { runMerge } from "../run/execute.ts";

export interface RecipeText {
  readonly text: string;
  /** What diagnostics call it, and the place its relative paths start from; need not exist. */
  readonly file: string;
}

export interface RecipeMergeOptions {
  readonly threads?: number;
  readonly seed?: number;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
}

/** Merges into the folder `out`. Returns the id of the method. @throws WeightsmithError whatever parsing, planning and running find */
export async function mergeByRecipe(
  source: RecipeText,
  out: string,
  { threads, seed = 0, overwrite = false, signal }: RecipeMergeOptions = {},
): Promise<string> {
  const parsed = parseRecipe(source.text, source.file);
  if (parsed.recipe === undefined) throw new WeightsmithError(parsed.diagnostics);
  const signalled = signal === undefined ? {} : { signal };
  const planned = await planMerge(parsed.recipe, modelOpener(source.file, signalled), { seed });
  if (planned.plan === undefined) throw new WeightsmithError(planned.diagnostics);
  await runMerge(planned.plan, { out, overwrite, ...(threads === undefined ? {} : { threads }), ...signalled });
  return parsed.recipe.method.id;
}
