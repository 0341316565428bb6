// Output made of slices: layers of the sources are picked, renumbered and put on top of each other; what stands before
// the layers (embeddings) comes from the first slice, what stands after them (final norm, head) from the last.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { layerStacks, placeOf } from "../checkpoints/tensor-roles.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { layerPosition } from "../recipe/evaluate-parameter.ts";
import type { Recipe, RecipeModule, RecipeSlice } from "../recipe/recipe.ts";
import { type Member, type OutputTensor, type OutputTensors, partOf, primaryOf } from "./parts.ts";

/** The deepest stack of layers of a model, the one that layer ranges count. */
interface LayerStack {
  readonly prefix: string;
  readonly count: number;
  /** For each layer, what follows the layer index in the names of its tensors, in file order. */
  readonly rests: ReadonlyMap<number, readonly string[]>;
  /** Names of all tensors outside of the stack. */
  readonly loose: readonly string[];
}

type StackOf = (checkpoint: Checkpoint) => LayerStack;

export function stackedLayers(
  recipe: Recipe,
  module: RecipeModule,
  membersOf: (slice: RecipeSlice) => Member[],
  report: (d: Diagnostic) => void,
): OutputTensors {
  const stackOf = cached(readStack);
  const tensors: OutputTensor[] = [];
  const sourceLayers: number[] = [];
  for (const slice of module.slices) {
    const members = membersOf(slice);
    if (!checkRanges(recipe, members, stackOf, report)) continue;
    const [first, end] = members[0]?.source.layers ?? [0, 0];
    for (let k = 0; k < end - first; k++) {
      tensors.push(...layerTensors({ module, slice, members, stackOf }, k, sourceLayers.length));
      sourceLayers.push(first + k);
    }
  }
  const [first, last] = [module.slices[0], module.slices.at(-1)];
  const before = first === undefined ? [] : looseTensors({ module, slice: first, members: membersOf(first), stackOf }, "before");
  const after = last === undefined ? [] : looseTensors({ module, slice: last, members: membersOf(last), stackOf }, "after");
  const primary = first === undefined ? undefined : primaryOf(membersOf(first));
  const stackings = primary === undefined ? [] : [{ prefix: stackOf(primary.checkpoint).prefix, sourceLayers }];
  return { tensors: [...before, ...tensors, ...after], stackings };
}

function cached(read: StackOf): StackOf {
  const stacks = new Map<Checkpoint, LayerStack>();
  return (checkpoint) => {
    const stack = stacks.get(checkpoint) ?? read(checkpoint);
    stacks.set(checkpoint, stack);
    return stack;
  };
}

function readStack({ tensors }: Checkpoint): LayerStack {
  const [deepest, count] = [...layerStacks(tensors.keys())].sort(([, a], [, b]) => b - a)[0] ?? ["", 0];
  const rests = new Map<number, string[]>();
  const loose: string[] = [];
  for (const name of tensors.keys()) {
    const { layer, prefix, rest } = placeOf(name);
    if (layer === undefined || prefix !== deepest) loose.push(name);
    else if (rests.get(layer)?.push(rest) === undefined) rests.set(layer, [rest]);
  }
  return { prefix: deepest, count, rests, loose };
}

interface SliceContext {
  readonly module: RecipeModule;
  readonly slice: RecipeSlice;
  readonly members: readonly Member[];
  readonly stackOf: StackOf;
}

/** Output layer `index`, made from layer `k` of each source's range. */
function layerTensors({ module, slice, members, stackOf }: SliceContext, k: number, index: number): OutputTensor[] {
  const sides = members.map((member) => ({ member, stack: stackOf(member.checkpoint), layer: (member.source.layers?.[0] ?? 0) + k }));
  const primary = sides.find(({ member }) => member === primaryOf(members));
  if (primary === undefined) return [];
  const [first, end] = primary.member.source.layers ?? [0, 0];
  const rests = new Set([primary, ...sides].flatMap(({ stack, layer }) => stack.rests.get(layer) ?? []));
  return [...rests].map((rest) => ({
    name: `${primary.stack.prefix}.${index}.${rest}`,
    position: layerPosition(k, end - first),
    module,
    slice,
    parts: sides.map(({ member, stack, layer }) => partOf(member, `${stack.prefix}.${layer}.${rest}`)),
  }));
}

/** Tensors outside of the stack of layers: embeddings stand before it, everything else after. */
function looseTensors({ module, slice, members, stackOf }: SliceContext, where: "before" | "after"): OutputTensor[] {
  const primary = primaryOf(members);
  const names = new Set([...(primary === undefined ? [] : [primary]), ...members].flatMap(({ checkpoint }) => stackOf(checkpoint).loose));
  const chosen = [...names].filter((name) => (placeOf(name).role === "embedding" || /embeddings?\./i.test(name)) === (where === "before"));
  return chosen.map((name) => ({ name, position: 0, module, slice, parts: members.map((member) => partOf(member, name)) }));
}

function checkRanges(recipe: Recipe, members: readonly Member[], stackOf: StackOf, report: (d: Diagnostic) => void): boolean {
  const beyond = members.filter(({ source, checkpoint }) => source.layers !== undefined && source.layers[1] > stackOf(checkpoint).count);
  for (const { source, checkpoint } of beyond)
    report({
      code: "layer-range",
      severity: "error",
      message: `${source.model.text} has fewer layers than its layer_range`,
      file: recipe.file,
      range: source.range,
      found: `[${source.layers?.join(", ")}]`,
      expected: `an end of at most ${stackOf(checkpoint).count}`,
    });
  return beyond.length === 0;
}
