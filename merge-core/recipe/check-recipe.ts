// What a readable recipe can still get wrong without a look at the models: bases, numbers of models, missing parameters.
import type { Fix, SourceRange } from "../diagnostics.ts";
import type { MergeMethod, ParameterSpec } from "../methods/method.ts";
import { type Reader, suggestion } from "./reader.ts";
import type { ParameterSettings, Recipe, RecipeModule, RecipeSlice, RecipeSource } from "./recipe.ts";
import { addKey, addSharedParameter, addSourceParameter, setFlag, startValue, yamlText } from "./recipe-fixes.ts";
import { type Treatment, takesPart, treatmentBy } from "./treatment.ts";

/** Where a fix cannot know which model is meant. */
const PLACEHOLDER = "./base";

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
        checkWeights(reader, recipe, treatment, module, slice);
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
  // Where the base is one of the models merged, the first of them will do; else only the user knows it.
  const [first] = method.base === "one-of" ? slice.sources : [];
  const fix = addKey(reader.source, `base_model: ${first === undefined ? PLACEHOLDER : yamlText(first.model.text)}`);
  reader.report("missing-base", `${method.id} needs a base model`, methodRange, {
    found: "no base_model",
    expected: "base_model: the model that the others were fine-tuned from",
    remedy: "add base_model to the recipe",
    ...(fix && { fix: { ...fix, title: "Add base_model", ...(first === undefined && { model: PLACEHOLDER }) } }),
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
  const needing = needy(method, slice);
  for (const spec of method.parameters.filter((p) => p.default === undefined)) {
    const line = `${spec.name}: ${startValue(spec, needing.length)}`;
    // An override has parameters of its own, which stand elsewhere.
    const shared = treatment.override === undefined ? addSharedParameter(reader.source, line) : undefined;
    if (spec.scope === "global" && !given(spec.name, above)) reportMissing(reader, method, spec, methodRange, shared);
    if (spec.scope === "model")
      for (const source of needing) {
        if (given(spec.name, [source.parameters, ...above])) continue;
        const own = treatment.override === undefined ? addSourceParameter(reader.source, source.range, line) : undefined;
        reportMissing(reader, method, spec, treatment.override?.range ?? source.range, own, source);
      }
  }
}

/**
 * Averages whose weights do not sum to 1, where that shows without a look at tensors: every weight one number for all of them.
 * A sum of 0 cannot be divided by; any other sum that nothing divides by makes every weight of the model that much larger.
 */
function checkWeights(
  reader: Reader,
  recipe: Recipe,
  { method, methodRange, override, parameters }: Treatment,
  module: RecipeModule,
  slice: RecipeSlice,
): void {
  if (method.average !== true || override !== undefined) return;
  const above = [...(parameters === undefined ? [] : [parameters]), slice.parameters, module.parameters, recipe.parameters];
  const weights = slice.sources.map((source) => plainValue("weight", [source.parameters, ...above]));
  if (weights.some((weight) => weight === undefined)) return;
  const sum = weights.reduce<number>((total, weight) => total + (weight ?? 0), 0);
  const flag = above.flatMap((level) => level.get("normalize") ?? [])[0];
  const normalizes = flag === undefined ? true : plainValue("normalize", above);
  const found = `weights ${weights.join(", ")}, which sum to ${Number(sum.toPrecision(6))}`;
  if (normalizes === 0 && Math.abs(sum) >= 1e-8 && Math.abs(sum - 1) > 0.01) {
    const fix = setFlag(reader.source, flag?.range, "normalize", true);
    reader.report("weights-not-normalized", "the weights do not sum to 1 and are not normalised, so that the result is scaled", flag?.range ?? methodRange, {
      severity: "warning",
      found,
      expected: "weights that sum to 1, or normalize: true",
      ...(fix && { fix: { ...fix, title: "Set normalize to true" } }),
    });
  } else if (normalizes !== undefined && normalizes !== 0 && Math.abs(sum) < 1e-8) {
    const fix = setFlag(reader.source, flag?.range, "normalize", false);
    reader.report("weights-sum-to-zero", "the weights of the models cannot be normalised", methodRange, {
      found,
      expected: "weights whose sum is not 0",
      remedy: "change a weight, or set normalize: false",
      ...(fix && { fix: { ...fix, title: "Set normalize to false" } }),
    });
  }
}

/** The number that the first level which has the parameter gives all tensors; undefined for conditions and gradients. */
function plainValue(name: string, levels: readonly ParameterSettings[]): number | undefined {
  const [condition, ...others] = levels.flatMap((level) => level.get(name) ?? [])[0]?.conditions ?? [];
  if (condition === undefined || others.length > 0 || condition.filter !== undefined || (condition.exclude ?? []).length > 0) return undefined;
  return condition.values.length === 1 ? condition.values[0] : undefined;
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

function reportMissing(
  reader: Reader,
  method: MergeMethod,
  { name, doc }: ParameterSpec,
  range: SourceRange,
  edit: Omit<Fix, "title"> | undefined,
  source?: RecipeSource,
): void {
  reader.report("missing-parameter", `${method.id} needs ${name}${source === undefined ? "" : ` for ${source.model.text}`}`, range, {
    expected: `${name}: ${doc.charAt(0).toLowerCase()}${doc.slice(1).replace(/\.$/, "")}`,
    remedy: `add ${name} under parameters`,
    ...(edit && { fix: { ...edit, title: `Add ${edit.text.trim().split("\n").at(-1)?.trim()}` } }),
  });
}
