// The models of a recipe, opened, and what is wrong with any of them as a whole.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { packedTensor } from "../checkpoints/packed.ts";
import { type Diagnostic, WeightsmithError } from "../diagnostics.ts";
import type { ModelReference, Recipe, RecipeSource } from "../recipe/recipe.ts";
import type { OpenModel } from "./open-model.ts";

export interface InputModels {
  /** By reference text, in the order of the recipe, the base first. */
  readonly checkpoints: ReadonlyMap<string, Checkpoint>;
  /** Where config and tokenizer come from: the base, else the first model. */
  readonly donor: { readonly reference: ModelReference; readonly checkpoint: Checkpoint };
}

/** Opens all models; undefined if one cannot be opened, which `report` has then been told of. */
export async function openModels(recipe: Recipe, open: OpenModel, report: (d: Diagnostic) => void): Promise<InputModels | undefined> {
  const references = distinctReferences(recipe);
  const checkpoints = new Map<string, Checkpoint>();
  for (const reference of references) {
    const checkpoint = await open(reference).catch((error: unknown) => reportFailure(error, recipe, reference, report));
    if (checkpoint === undefined) continue;
    for (const finding of checkpoint.findings ?? []) reportAtPlace(finding, recipe, reference, report);
    if (refuseEmpty(checkpoint, recipe, reference, report) && refusePacked(checkpoint, recipe, reference, report)) checkpoints.set(reference.text, checkpoint);
  }
  const [first] = references;
  const checkpoint = checkpoints.get(first?.text ?? "");
  if (first === undefined || checkpoint === undefined || checkpoints.size < references.length) return undefined;
  return { checkpoints, donor: { reference: first, checkpoint } };
}

const allSources = (recipe: Recipe): RecipeSource[] => recipe.modules.flatMap((module) => module.slices.flatMap((slice) => [...slice.sources]));

/** The files of statistics that the recipe names. */
export const statisticsOf = (recipe: Recipe): ModelReference[] => allSources(recipe).flatMap(({ statistics }) => [...(statistics?.values() ?? [])]);

function distinctReferences(recipe: Recipe): ModelReference[] {
  const named = typeof recipe.tokenizer?.source === "object" ? [recipe.tokenizer.source] : [];
  const models = allSources(recipe).map(({ model }) => model);
  const mentioned = [...(recipe.base === undefined ? [] : [recipe.base]), ...models, ...named, ...statisticsOf(recipe)];
  const first = new Map<string, ModelReference>();
  for (const reference of mentioned) if (!first.has(reference.text)) first.set(reference.text, reference);
  return [...first.values()];
}

/** Problems of opening are told at the place in the recipe that names the model; anything but bad input is thrown on. */
function reportFailure(error: unknown, recipe: Recipe, reference: ModelReference, report: (d: Diagnostic) => void): undefined {
  if (!(error instanceof WeightsmithError) || error.exitCode !== 2) throw error;
  for (const diagnostic of error.diagnostics) reportAtPlace(diagnostic, recipe, reference, report);
  return undefined;
}

function reportAtPlace({ file, notes = [], ...rest }: Diagnostic, recipe: Recipe, reference: ModelReference, report: (d: Diagnostic) => void): void {
  const what = reference.text === recipe.base?.text ? "base model" : "model";
  const inside = file === undefined ? [] : [`${what} ${reference.text}, in ${file}`];
  report({ ...rest, notes: [...inside, ...notes], file: recipe.file, range: reference.range });
}

function refuseEmpty(checkpoint: Checkpoint, recipe: Recipe, { text, range }: ModelReference, report: (d: Diagnostic) => void): boolean {
  if (checkpoint.tensors.size > 0) return true;
  report({ code: "model-empty", severity: "error", message: `${text} holds no tensors`, file: recipe.file, range });
  return false;
}

/** Packed weights may be passed on as they are, but arithmetic on their bytes would be nonsense. */
function refusePacked({ tensors }: Checkpoint, recipe: Recipe, { text, range }: ModelReference, report: (d: Diagnostic) => void): boolean {
  if ([recipe, ...recipe.overrides].every(({ method }) => method.id === "passthrough") && !scales(recipe)) return true;
  const name = [...tensors.keys()].find((tensor) => packedTensor(tensor) !== undefined);
  if (name === undefined) return true;
  report({
    code: "packed-tensors",
    severity: "error",
    message: `${text} holds quantised weights, which cannot be merged`,
    file: recipe.file,
    range,
    found: `tensor ${name} (${packedTensor(name)})`,
    expected: "weights in a floating-point dtype",
    remedy: "merge the models before they are quantised",
  });
  return false;
}

function scales({ parameters, overrides, modules }: Recipe): boolean {
  const levels = [
    parameters,
    ...overrides.map((override) => override.parameters),
    ...modules.flatMap((m) => [m.parameters, ...m.slices.flatMap((s) => [s.parameters, ...s.sources.map((source) => source.parameters)])]),
  ];
  return levels.some((level) => level.has("scale"));
}
