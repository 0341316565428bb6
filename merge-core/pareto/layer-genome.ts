// Layer stacks as vectors of numbers, for search in data-flow space (Akiba et al. 2024, 2403.13187): the layers of all models one after another, all that
// repeated; a layer runs where its number is above 0. The paper's scaling of a layer's input is left out: a checkpoint has no place for it.
import { stringify } from "yaml";
import { inputError } from "../diagnostics.ts";

export interface LayerStack {
  /** Models with their numbers of layers; embedding, head and all else come from the first and last layer's model, as stacking recipes have it. */
  readonly models: readonly { readonly model: string; readonly layers: number }[];
  readonly repeats: number;
  readonly dtype?: string;
}

/** Numbers of a genome, from the first model's first layer on. */
export const genomeLength = ({ models, repeats }: LayerStack): number => repeats * models.reduce((sum, { layers }) => sum + layers, 0);

/** The genome that is the first model as it is, and is sure of it: as far from 0 as `reach`. */
export function firstModelGenome(stack: LayerStack, reach: number): number[] {
  const [first] = stack.models;
  return Array.from({ length: genomeLength(stack) }, (_, i) => (i < (first?.layers ?? 0) ? reach : 0));
}

/** The stack as a recipe; runs of consecutive layers become one slice. @throws WeightsmithError `stack-empty` */
export function stackRecipe(stack: LayerStack, genome: readonly number[]): string {
  const slots = Array.from({ length: stack.repeats }, () =>
    stack.models.flatMap(({ model, layers }) => Array.from({ length: layers }, (_, layer) => ({ model, layer }))),
  ).flat();
  const runs: { model: string; layer_range: [number, number] }[] = [];
  for (const { model, layer } of slots.filter((_, i) => (genome[i] ?? 0) > 0)) {
    const last = runs.at(-1);
    if (last?.model === model && last.layer_range[1] === layer) last.layer_range[1] = layer + 1;
    else runs.push({ model, layer_range: [layer, layer + 1] });
  }
  if (runs.length === 0) throw inputError("stack-empty", "the stack has no layers", { expected: "at least one number above 0" });
  const slices = runs.map((source) => ({ sources: [source] }));
  return stringify({ merge_method: "passthrough", slices, ...(stack.dtype === undefined ? {} : { dtype: stack.dtype }) });
}
