// Which tensors the output has, and which tensors of which inputs each is made from. Works on names alone: whatever
// stands before the first number in a name is a stack of layers.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { layerStacks, placeOf } from "../checkpoints/tensor-roles.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { layerPosition } from "../recipe/evaluate-parameter.ts";
import type { Recipe, RecipeModule, RecipeSlice } from "../recipe/recipe.ts";
import { keptTensors, modulePartsOf } from "./module-parts.ts";
import { DEFAULT_MODULE, moduleFinder } from "./module-tensors.ts";
import { type Member, type OutputTensor, type OutputTensors, partOf, primaryOf } from "./parts.ts";
import { stackedLayers } from "./stacked-layers.ts";

/**
 * All output tensors, module by module, in the order of the base's (else the first model's) files; layers first to last where they are
 * restacked. Tensors that belong to no module come last, from the base or the first model that has them.
 */
export function outputTensors(recipe: Recipe, checkpoints: ReadonlyMap<string, Checkpoint>, report: (d: Diagnostic) => void): OutputTensors {
  const [only] = recipe.modules;
  if (only === undefined) return { tensors: [], stackings: [] };
  if (recipe.modules.length === 1 && only.name === DEFAULT_MODULE) return moduleTensors(recipe, only, (slice) => membersOf(slice, checkpoints), report);
  const find = moduleFinder(recipe.modules.map(({ name }) => name));
  const made = recipe.modules.map((module) => {
    const parts = modulePartsOf(recipe, module, checkpoints, find, report);
    return moduleTensors(recipe, module, (slice) => membersOf(slice, parts), report);
  });
  const tensors = made.flatMap((module) => module.tensors);
  return { tensors: [...tensors, ...keptTensors(recipe, checkpoints, find, report)], stackings: made.flatMap(({ stackings }) => stackings) };
}

function membersOf({ sources }: RecipeSlice, checkpoints: ReadonlyMap<string, Checkpoint>): Member[] {
  return sources.flatMap((source, modelIndex) => {
    const checkpoint = checkpoints.get(source.model.text);
    return checkpoint === undefined ? [] : [{ source, modelIndex, checkpoint }];
  });
}

function moduleTensors(recipe: Recipe, module: RecipeModule, members: (slice: RecipeSlice) => Member[], report: (d: Diagnostic) => void): OutputTensors {
  const [slice] = module.slices;
  if (slice?.sources.every(({ layers }) => layers === undefined)) return { tensors: wholeModels(module, slice, members(slice)), stackings: [] };
  return stackedLayers(recipe, module, members, report);
}

function wholeModels(module: RecipeModule, slice: RecipeSlice, members: readonly Member[]): OutputTensor[] {
  const primary = primaryOf(members);
  const names = new Set([...(primary?.checkpoint.tensors.keys() ?? []), ...members.flatMap(({ checkpoint }) => [...checkpoint.tensors.keys()])]);
  const stacks = layerStacks(names);
  return [...names].map((name) => {
    const { layer, prefix } = placeOf(name);
    const position = layer === undefined ? 0 : layerPosition(layer, stacks.get(prefix) ?? 1);
    return { name, position, module, slice, parts: members.map((member) => partOf(member, name)) };
  });
}
