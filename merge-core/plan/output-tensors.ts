// Which tensors the output has, and which tensors of which inputs each is made from. Works on names alone: whatever
// stands before the first number in a name is a stack of layers.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { layerStacks, placeOf } from "../checkpoints/tensor-roles.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { layerPosition } from "../recipe/evaluate-parameter.ts";
import type { Recipe, RecipeModule, RecipeSlice } from "../recipe/recipe.ts";
import { type Member, type OutputTensor, type OutputTensors, partOf, primaryOf } from "./parts.ts";
import { stackedLayers } from "./stacked-layers.ts";

/** All output tensors in the order of the base's (else the first model's) files; layers first to last where they are restacked. */
export function outputTensors(recipe: Recipe, checkpoints: ReadonlyMap<string, Checkpoint>, report: (d: Diagnostic) => void): OutputTensors {
  const [module] = recipe.modules;
  if (module === undefined) return { tensors: [], stacking: undefined };
  if (recipe.modules.length > 1 || module.name !== "default") {
    report({
      code: "modules-unsupported",
      severity: "error",
      message: "recipes by module are not planned yet",
      file: recipe.file,
      range: module.range,
      found: recipe.modules.map(({ name }) => name).join(", "),
      expected: "models, slices, or the single module default",
    });
    return { tensors: [], stacking: undefined };
  }
  const [slice] = module.slices;
  const members = (of: RecipeSlice): Member[] =>
    of.sources.flatMap((source, modelIndex) => {
      const checkpoint = checkpoints.get(source.model.text);
      return checkpoint === undefined ? [] : [{ source, modelIndex, checkpoint }];
    });
  if (slice?.sources.every(({ layers }) => layers === undefined)) return { tensors: wholeModels(module, slice, members(slice)), stacking: undefined };
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
