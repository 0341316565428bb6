// A recipe's parts for the outline; pure.
import type { SourceRange } from "../../merge-core/diagnostics.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";

export interface OutlineEntry {
  readonly name: string;
  readonly detail: string;
  readonly kind: "method" | "model";
  readonly range: SourceRange;
}

/** Method, and each source with the base among them in the order of the text; empty while the recipe cannot be read. */
export function outlineRecipe(text: string): OutlineEntry[] {
  const { recipe } = parseRecipe(text, "recipe");
  if (recipe === undefined) return [];
  const sources = recipe.modules.flatMap((module) => module.slices.flatMap((slice) => slice.sources));
  const listed = sources.map(({ model, layers, isBase, range }): OutlineEntry => {
    const detail = [isBase ? "base" : "", layers === undefined ? "" : `layers ${layers[0]} to ${layers[1] - 1}`].filter(Boolean).join(", ");
    return { name: model.text, detail, kind: "model", range };
  });
  // A base that is no source of its own stands among the sources with the place of its mention.
  listed.sort((a, b) => a.range.offset - b.range.offset);
  return [{ name: recipe.method.id, detail: recipe.method.title, kind: "method", range: recipe.methodRange }, ...listed];
}
