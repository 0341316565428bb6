// What a readable recipe can still get wrong without a look at the models: bases, numbers of models, missing parameters.
import type { MergeMethod } from "../methods/method.ts";
import { type Reader, suggestion } from "./reader.ts";
import type { ParameterSettings, Recipe, RecipeModule, RecipeSlice, RecipeSource } from "./recipe.ts";
import { type Treatment, takesPart, treatmentBy } from "./treatment.ts";

export function checkRecipe(reader: Reader, recipe: Recipe): void {
  checkUnused(reader, recipe);
  for (const override of [undefined, ...recipe.overrides]) {
    const treatment = treatmentBy(recipe, override);
    checkModels(reader, recipe, treatment);
    for (const module of recipe.modules)
      for (const whole of module.slices) {
        if (override === undefined) checkDuplicates(reader, whole);
        const slice = { ...whole, sources: whole.sources.filter((source) => takesPart(treatment, source)), range: override?.range ?? whole.range };
        if (!checkBase(reader, treatment, slice)) return;
        checkCount(reader, treatment, slice);
        checkGiven(reader, recipe, treatment, module, slice);
        checkStatistics(reader, treatment, slice);
      }
  }
}

/** Files of statistics that no method of the recipe reads. */
function checkUnused(reader: Reader, { method, overrides, modules }: Recipe): void {
  const used = new Set([method, ...overrides.map((override) => override.method)].map(({ data }) => data));
  for (const { model, statistics } of modules.flatMap(({ slices }) => slices.flatMap(({ sources }) => sources)))
    for (const [kind, { range }] of statistics ?? [])
      if (!used.has(kind))
        reader.report("ignored-key", `${kind} of ${model.text} has no effect`, range, { severity: "warning", notes: [`${method.id} reads no ${kind} files`] });
}

/** Models that an override names must be among those of the recipe. */
function checkModels(reader: Reader, recipe: Recipe, { override }: Treatment): void {
  const known = recipe.modules.flatMap(({ slices }) => slices.flatMap(({ sources }) => sources.map(({ model }) => model.text)));
  for (const { text, range } of override?.models ?? [])
    if (!known.includes(text) && text !== recipe.base?.text)
      reader.report("override-model", "this model is not one of those that are merged", range, {
        found: text,
        expected: [...new Set(known)].join(", "),
        ...suggestion(text, known, range),
      });
}

function checkBase(reader: Reader, { method, methodRange }: Treatment, slice: RecipeSlice): boolean {
  if (method.base === "none" || method.base === "optional" || slice.sources.some(({ isBase }) => isBase)) return true;
  reader.report("missing-base", `${method.id} needs a base model`, methodRange, {
    found: "no base_model",
    expected: "base_model: the model that the others were fine-tuned from",
    remedy: "add base_model to the recipe",
  });
  return false;
}

function checkCount(reader: Reader, { method }: Treatment, slice: RecipeSlice): void {
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
function checkGiven(reader: Reader, recipe: Recipe, treatment: Treatment, module: RecipeModule, slice: RecipeSlice): void {
  const { method, methodRange, parameters } = treatment;
  const first = parameters === undefined ? [] : [parameters];
  const above = [...first, slice.parameters, module.parameters, recipe.parameters];
  const given = (name: string, levels: readonly ParameterSettings[]) => levels.some((level) => level.has(name));
  for (const { name, scope, doc } of method.parameters.filter((p) => p.default === undefined)) {
    if (scope === "global" && !given(name, above)) reportMissing(reader, method, name, doc, methodRange);
    if (scope === "model")
      for (const source of needy(method, slice))
        if (!given(name, [source.parameters, ...above])) reportMissing(reader, method, name, doc, treatment.override?.range ?? source.range, source);
  }
}

/** Methods that weigh models by their data need the file of each. */
function checkStatistics(reader: Reader, { method }: Treatment, slice: RecipeSlice): void {
  const { data } = method;
  if (data === undefined) return;
  for (const source of needy(method, slice))
    if (source.statistics?.has(data) !== true)
      reader.report("missing-statistics", `${method.id} needs the ${data} file of ${source.model.text}`, source.range, {
        expected: `${data}: a safetensors file`,
        remedy: `make it with weightsmith ${data}, and write ${data}: FILE beside model`,
      });
}

/** The sources that need their own parameters: the base does not where it is only the origin of differences. */
function needy(method: MergeMethod, { sources }: RecipeSlice): readonly RecipeSource[] {
  return method.base === "none" ? sources : sources.filter(({ isBase }) => !isBase);
}

function reportMissing(reader: Reader, method: MergeMethod, name: string, doc: string, range: RecipeSource["range"], source?: RecipeSource): void {
  reader.report("missing-parameter", `${method.id} needs ${name}${source === undefined ? "" : ` for ${source.model.text}`}`, range, {
    expected: `${name}: ${doc.charAt(0).toLowerCase()}${doc.slice(1).replace(/\.$/, "")}`,
    remedy: `add ${name} under parameters`,
  });
}
