// The pieces output tensors are described with: sources of slices, and the tensors they contribute.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import type { RecipeModule, RecipeSlice, RecipeSource } from "../recipe/recipe.ts";

/** One source's tensor for one output tensor. */
export interface Part {
  readonly source: RecipeSource;
  /** Position among the slice's sources. */
  readonly modelIndex: number;
  readonly checkpoint: Checkpoint;
  /** Name that the source should have the tensor under; conditions on this model's parameters look at it. */
  readonly name: string;
  /** Absent if the source lacks it. */
  readonly entry: TensorEntry | undefined;
}

/** A part whose tensor is there. */
export type FoundPart = Part & { readonly entry: TensorEntry };

export interface OutputTensor {
  readonly name: string;
  /** Of the tensor's layer in its slice, 0 to 1; 0 outside of layers. */
  readonly position: number;
  readonly module: RecipeModule;
  readonly slice: RecipeSlice;
  /** One per source of the slice, in recipe order. */
  readonly parts: readonly Part[];
  /** Belongs to no module of the recipe: one model's tensor, as it is. */
  readonly kept?: true;
}

/** Which layer of its first source each output layer of a stack comes from. */
export interface Stacking {
  /** What stands before the layer number in the names of the output. */
  readonly prefix: string;
  readonly sourceLayers: readonly number[];
}

export interface OutputTensors {
  readonly tensors: readonly OutputTensor[];
  /** The stacks whose layers get new numbers. */
  readonly stackings: readonly Stacking[];
}

/** One source of a slice with its model. */
export interface Member {
  readonly source: RecipeSource;
  readonly modelIndex: number;
  readonly checkpoint: Checkpoint;
}

/** The base if it is among the members, else the first: its names and dtypes are the output's. */
export function primaryOf<T extends { readonly source: RecipeSource }>(members: readonly T[]): T | undefined {
  return members.find(({ source }) => source.isBase) ?? members[0];
}

/** What a member has under a name. */
export const partOf = (member: Member, name: string): Part => ({ ...member, name, entry: member.checkpoint.tensors.get(name) });
