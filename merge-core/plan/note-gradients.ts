// Gradients run over the layers. What stands after the layers takes their first value, as in mergekit, which few expect: it is told.
import { placeOf } from "../checkpoints/tensor-roles.ts";
import type { Diagnostic, SourceRange } from "../diagnostics.ts";
import { valuesFor } from "../recipe/evaluate-parameter.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { parameterLevels } from "./build-jobs.ts";
import type { MatchedTensor } from "./match-inputs.ts";
import { treatmentFor } from "./treat-tensors.ts";

/** One note for each parameter whose gradient ends elsewhere than it begins, if the final norm, a head or the like takes its first value. */
export function noteGradients(recipe: Recipe, matched: readonly MatchedTensor[], report: (d: Diagnostic) => void): void {
  const notes = new Map<string, { tensors: Set<string>; values: readonly number[]; range: SourceRange }>();
  for (const { output, parts, copy } of matched) {
    const { layer, role } = placeOf(output.name);
    if (copy || layer !== undefined || role === "embedding") continue;
    const treatment = treatmentFor(recipe, output);
    for (const { name, scope } of treatment.method.parameters)
      for (const part of scope === "global" ? [undefined] : parts) {
        const settings = parameterLevels(recipe, treatment, output, part).flatMap((level) => level.get(name) ?? []);
        const setting = settings.find((candidate) => valuesFor(candidate, part?.name ?? output.name) !== undefined);
        const values = setting === undefined ? [] : (valuesFor(setting, part?.name ?? output.name) ?? []);
        if (setting === undefined || values[0] === values.at(-1)) continue;
        const note = notes.get(name) ?? { tensors: new Set(), values, range: setting.range };
        notes.set(name, note);
        note.tensors.add(output.name);
      }
  }
  for (const [name, { tensors, values, range }] of notes)
    report({
      code: "gradient-outside-layers",
      severity: "info",
      message: `${name} is a gradient over the layers; tensors after the layers take its first value`,
      file: recipe.file,
      range,
      found: `${name} ${values[0]} for ${[...tensors].join(", ")}`,
      remedy: `give ${name} a condition for them if its last value, ${values.at(-1)}, is meant`,
    });
}
