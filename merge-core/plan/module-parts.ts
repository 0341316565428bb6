// Recipes by module: each module sees the tensors of its models that belong to it, and what belongs to no module stays as it is.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { nearestName } from "../diagnostics.ts";
import type { Recipe, RecipeModule, RecipeSource } from "../recipe/recipe.ts";
import { adoptNames, DEFAULT_MODULE, type ModulePlace, namesParts, restrict } from "./module-tensors.ts";
import type { OutputTensor } from "./parts.ts";

type Find = (tensorName: string) => ModulePlace;
type Report = (d: Diagnostic) => void;

const sourcesOf = ({ slices }: RecipeModule): RecipeSource[] => slices.flatMap(({ sources }) => [...sources]);

/** A module's models, each with the tensors of the module alone and under the names that the part has in the whole. */
export function modulePartsOf(
  recipe: Recipe,
  module: RecipeModule,
  checkpoints: ReadonlyMap<string, Checkpoint>,
  find: Find,
  report: Report,
): ReadonlyMap<string, Checkpoint> {
  const texts = new Set(sourcesOf(module).map(({ model }) => model.text));
  const own = [...checkpoints].filter(([text]) => texts.has(text)).map(([text, model]): [string, Checkpoint] => [text, restrict(model, module.name, find)]);
  const whole = own.find(([, part]) => namesParts(part, find))?.[1];
  const parts = own.map(([text, part]): [string, Checkpoint] => [text, whole === undefined ? part : adoptNames(part, whole, find)]);
  if (parts.every(([, { tensors }]) => tensors.size === 0)) report(emptyModule(recipe, module, checkpoints));
  const renamed = parts.filter(([, part], i) => part !== own[i]?.[1]).map(([text]) => text);
  if (renamed.length > 0)
    report({
      code: "module-names",
      severity: "info",
      message: `${renamed.join(", ")} is taken for the ${module.name} of the other models`,
      file: recipe.file,
      range: module.range,
      notes: ["its tensors have the same names, but for the name of the part"],
    });
  return new Map(parts);
}

function emptyModule(recipe: Recipe, { name, range }: RecipeModule, checkpoints: ReadonlyMap<string, Checkpoint>): Diagnostic {
  const known = leadingNames([...checkpoints.values()].flatMap(({ tensors }) => [...tensors.keys()]));
  const near = nearestName(name, known);
  return {
    code: "module-unknown",
    severity: "error",
    message: `no tensor of the models belongs to the module ${name}`,
    file: recipe.file,
    range,
    found: name,
    expected: `a part of the tensors' names: ${[...known, DEFAULT_MODULE].join(", ")}`,
    ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
  };
}

/** More would only fill the screen. */
const MAX_NAMES = 8;

/** The parts that names begin with, `model.` left out. */
function leadingNames(names: readonly string[]): string[] {
  const parts = names.map((name) => name.replace(/^model\./, "").split(".")[0] ?? "");
  return [...new Set(parts)].slice(0, MAX_NAMES);
}

/** Tensors of no module: the base's, or those of the first model that has any. */
export function keptTensors(recipe: Recipe, checkpoints: ReadonlyMap<string, Checkpoint>, find: Find, report: Report): OutputTensor[] {
  const [module] = recipe.modules;
  const keeps = (checkpoint: Checkpoint | undefined) => [...(checkpoint?.tensors.values() ?? [])].filter(({ name }) => find(name).module === undefined);
  const source = donors(recipe).find(({ model }) => keeps(checkpoints.get(model.text)).length > 0);
  const checkpoint = checkpoints.get(source?.model.text ?? "");
  if (module === undefined || source === undefined || checkpoint === undefined) return [];
  const slice = { sources: [source], parameters: new Map(), range: source.range };
  const entries = keeps(checkpoint);
  report({
    code: "module-left-out",
    severity: "warning",
    message: `${entries.length} tensors belong to no module of the recipe: they are taken from ${source.model.text} as they are`,
    file: recipe.file,
    range: module.range,
    found: leadingNames(entries.map(({ name }) => name)).join(", "),
    notes: ["mergekit leaves them out of its result, which then does not load"],
    remedy: "add a module for them to merge them too",
  });
  const parts = (name: string) => [{ source, modelIndex: 0, checkpoint, name, entry: checkpoint.tensors.get(name) }];
  return entries.map(({ name }) => ({ name, position: 0, module, slice, parts: parts(name), kept: true }));
}

/** The base, then all models in the order of the recipe. */
function donors({ base, modules }: Recipe): RecipeSource[] {
  const first = base === undefined ? [] : [{ model: base, isBase: true, layers: undefined, parameters: new Map(), range: base.range }];
  return [...first, ...modules.flatMap(sourcesOf)];
}
