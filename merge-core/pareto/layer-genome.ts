// Layer stacks as vectors of numbers, for search in data-flow space (Akiba et al. 2024, 2403.13187): the layers of all models one after another, all that
// repeated; a layer runs where its number is above 0. The paper also scales a layer's input, which a checkpoint has no place for. But layers that
// norm their input add the same to it whatever its scale, so h' = w h + f(norm(h)) is, up to a scale that the last norm takes out, h' = h + f(norm(h)) / w:
// what every layer adds is divided by the scales of all layers up to it, in the matrices that write to the stream. (The paper has one scale for each pair of
// layers, of which a path uses one for each layer; here there is one for each place.)
import { stringify } from "yaml";
import { inputError } from "../diagnostics.ts";

export interface LayerStack {
  /** Models with their numbers of layers; embedding, head and all else come from the first and last layer's model, as stacking recipes have it. */
  readonly models: readonly { readonly model: string; readonly layers: number }[];
  readonly repeats: number;
  readonly dtype?: string;
  /** Range of the scales of layers' inputs, around 1; absent, they are not searched. */
  readonly scale?: readonly [low: number, high: number];
}

/** What layers add to the stream is written by these. */
const WRITERS = ["o_proj", "down_proj", "c_proj"];

const placesOf = ({ models, repeats }: LayerStack): number => repeats * models.reduce((sum, { layers }) => sum + layers, 0);

/** Numbers of a genome, from the first model's first layer on: whether each layer runs, then, if they are searched, the scales. */
export const genomeLength = (stack: LayerStack): number => placesOf(stack) * (stack.scale === undefined ? 1 : 2);

/** The genome that is the first model as it is, and is sure of it: as far from 0 as `reach`. */
export function firstModelGenome(stack: LayerStack, reach: number): number[] {
  const [first] = stack.models;
  const runs = Array.from({ length: placesOf(stack) }, (_, i) => (i < (first?.layers ?? 0) ? reach : 0));
  const { scale } = stack;
  return scale === undefined ? runs : [...runs, ...runs.map(() => (-2 * Math.log(scale[0])) / Math.log(scale[1] / scale[0]) - 1)];
}

/** For each place whether its layer runs, as 1 or 0, then the scales. */
export function stackValues(stack: LayerStack, genome: readonly number[]): number[] {
  const places = placesOf(stack);
  return genome.map((x, i) => (i < places ? Number(x > 0) : scaleAt(stack.scale, x)));
}

/** Even in its logarithm over -1 to 1; rounded, so that the scale to begin with is 1 and not nearly so. */
const scaleAt = (range: LayerStack["scale"], x: number): number =>
  range === undefined ? 1 : Number((range[0] * (range[1] / range[0]) ** ((x + 1) / 2)).toPrecision(9));

interface Run {
  readonly model: string;
  readonly layer_range: [number, number];
  /** Of what its layers add. */
  readonly factor: number;
}

/** The stack as a recipe; runs of consecutive layers become one slice. @throws WeightsmithError `stack-empty` */
export function stackRecipe(stack: LayerStack, genome: readonly number[]): string {
  const values = stackValues(stack, genome);
  const places = Array.from({ length: stack.repeats }, () =>
    stack.models.flatMap(({ model, layers }) => Array.from({ length: layers }, (_, layer) => ({ model, layer }))),
  ).flat();
  const runs: Run[] = [];
  let factor = 1;
  for (const [i, { model, layer }] of places.entries()) {
    if (values[i] !== 1) continue;
    factor /= values[places.length + i] ?? 1;
    const last = runs.at(-1);
    if (last?.model === model && last.layer_range[1] === layer && last.factor === factor) last.layer_range[1] = layer + 1;
    else runs.push({ model, layer_range: [layer, layer + 1], factor });
  }
  if (runs.length === 0) throw inputError("stack-empty", "the stack has no layers", { expected: "at least one number above 0" });
  const slices = runs.map((run) => ({ sources: [sourceOf(run)] }));
  return stringify({ merge_method: "passthrough", slices, ...(stack.dtype === undefined ? {} : { dtype: stack.dtype }) });
}

function sourceOf({ factor, ...source }: Run): object {
  if (factor === 1) return source;
  return { ...source, parameters: { scale: [...WRITERS.map((filter) => ({ filter, value: factor })), { value: 1 }] } };
}
