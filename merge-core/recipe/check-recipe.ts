// What a readable recipe can still get wrong without a look at the models: bases, numbers of models, missing parameters.
import type { Reader } from "./reader.ts";
import type { ParameterSettings, Recipe, RecipeModule, RecipeSlice, RecipeSource } from "./recipe.ts";

export function checkRecipe(reader: Reader, recipe: Recipe): void {
  for (const module of recipe.modules)
    for (const slice of module.slices) {
      if (!checkBase(reader, recipe, slice)) return;
      checkCount(reader, recipe, slice);
      checkDuplicates(reader, slice);
      checkGiven(reader, recipe, module, slice);
    }
}

function checkBase(reader: Reader, { method, methodRange }: Recipe, slice: RecipeSlice): boolean {
  if (method.base === "none" || method.base === "optional" || slice.sources.some(({ isBase }) => isBase)) return true;
  reader.report("missing-base", `${method.id} needs a base model`, methodRange, {
    found: "no base_model",
    expected: "base_model: the model that the others were fine-tuned from",
    remedy: "add base_model to the recipe",
  });
  return false;
}

function checkCount(reader: Reader, { method }: Recipe, slice: RecipeSlice): void {
  const { min, max } = method.models;
  const besides = method.base === "none" ? slice.sources : slice.sources.filter(({ isBase }) => !isBase);
  if (besides.length >= min && besides.length <= max) return;
  const count = min === max ? `exactly ${min}` : besides.length < min ? `at least ${min}` : `at most ${max}`;
  reader.report("model-count", `${method.id} merges a different number of models`, slice.range, {
    found: `${besides.length}: ${besides.map(({ model }) => model.text).join(", ") || "only the base"}`,
    expected: `${count}${method.base === "none" ? "" : " besides the base"}`,
    ...(method.base === "one-of" && besides.length > max ? { remedy: "base_model must be one of the models listed" } : {}),
  });
}

function checkDuplicates(reader: Reader, { sources }: RecipeSlice): void {
  const seen = new Set<string>();
  for (const { model, layers } of sources) {
    const key = `${model.text}\n${layers}`;
    if (seen.has(key))
      reader.report("duplicate-model", "this model is listed twice and takes part twice", model.range, {
        severity: "warning",
        found: model.text,
        notes: ["mergekit would merge it once"],
      });
    seen.add(key);
  }
}

/** Reports required parameters that no level gives; conditions that leave out some tensors are found while planning. */
function checkGiven(reader: Reader, recipe: Recipe, module: RecipeModule, slice: RecipeSlice): void {
  const above = [slice.parameters, module.parameters, recipe.parameters];
  const given = (name: string, levels: readonly ParameterSettings[]) => levels.some((level) => level.has(name));
  for (const { name, scope, doc } of recipe.method.parameters.filter((p) => p.default === undefined)) {
    if (scope === "global" && !given(name, above)) reportMissing(reader, recipe, name, doc, recipe.methodRange);
    if (scope === "model")
      for (const source of needy(recipe, slice))
        if (!given(name, [source.parameters, ...above])) reportMissing(reader, recipe, name, doc, source.range, source);
  }
}

/** The sources that need their own parameters: the base does not where it is only the origin of differences. */
function needy({ method }: Recipe, { sources }: RecipeSlice): readonly RecipeSource[] {
  return method.base === "none" ? sources : sources.filter(({ isBase }) => !isBase);
}

function reportMissing(reader: Reader, { method }: Recipe, name: string, doc: string, range: RecipeSource["range"], source?: RecipeSource): void {
  reader.report("missing-parameter", `${method.id} needs ${name}${source === undefined ? "" : ` for ${source.model.text}`}`, range, {
    expected: `${name}: ${doc.charAt(0).toLowerCase()}${doc.slice(1).replace(/\.$/, "")}`,
    remedy: `add ${name} under parameters`,
  });
}
