// Leaves each output tensor with the sources that take part in it: overrides may name some of them.
import type { Diagnostic } from "../diagnostics.ts";
import { passthrough } from "../methods/passthrough.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { type Treatment, takesPart, treatmentOf } from "../recipe/treatment.ts";
import type { OutputTensor } from "./parts.ts";

/** How a tensor is merged: as the recipe says, or not at all if it belongs to no module. */
export function treatmentFor(recipe: Recipe, { name, kept }: Pick<OutputTensor, "name" | "kept">): Treatment {
  const { methodRange } = recipe;
  return kept === true ? { method: passthrough, methodRange, parameters: undefined, override: undefined } : treatmentOf(recipe, name);
}

/** Also tells which overrides fit no tensor at all. */
export function treatTensors(recipe: Recipe, tensors: readonly OutputTensor[], report: (d: Diagnostic) => void): readonly OutputTensor[] {
  const unused = new Set(recipe.overrides);
  const treated = tensors.map((tensor) => {
    const treatment = treatmentFor(recipe, tensor);
    if (tensor.kept === true) return tensor;
    if (treatment.override !== undefined) unused.delete(treatment.override);
    return { ...tensor, parts: tensor.parts.filter(({ source }) => takesPart(treatment, source)) };
  });
  for (const { filter, range } of unused)
    report({
      code: "override-unused",
      severity: "warning",
      message: "this override applies to no tensor",
      file: recipe.file,
      range,
      ...(filter === undefined ? {} : { found: filter }),
      remedy: "check its filter, and whether an override before it fits the same tensors",
    });
  return treated;
}
