// A recipe in the one form the planner works with, whichever layout the user wrote: modules -> slices -> sources.
import type { SourceRange } from "../diagnostics.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import type { MergeMethod, StatisticsKind } from "../methods/method.ts";
import type { TensorFilter } from "./tensor-pattern.ts";

/** A model as the recipe names it: `path[@revision][+adapter[@revision]]`. */
export interface ModelReference {
  /** The reference as one string; equal strings mean the same model. */
  readonly text: string;
  readonly path: string;
  readonly revision?: string;
  readonly lora?: { readonly path: string; readonly revision?: string };
  readonly range: SourceRange;
}

/** Values for the tensors that fit; several values are a gradient over the layers. */
export interface Condition extends TensorFilter {
  readonly values: readonly number[];
}

/** The value of one parameter at one level of the recipe. The first condition that fits a tensor decides. */
export interface ParameterSetting {
  readonly conditions: readonly Condition[];
  readonly range: SourceRange;
}

export type ParameterSettings = ReadonlyMap<string, ParameterSetting>;

/** One input of a slice. */
export interface RecipeSource {
  readonly model: ModelReference;
  readonly isBase: boolean;
  /** The base, which the recipe names only as `base_model`: no input of methods without a base. */
  readonly implied?: boolean;
  /** Half-open; absent for all layers of a whole model. */
  readonly layers: readonly [number, number] | undefined;
  readonly parameters: ParameterSettings;
  /** Files of statistics of the model on its data, by kind. */
  readonly statistics?: ReadonlyMap<StatisticsKind, ModelReference>;
  readonly range: SourceRange;
}

/** Consecutive output layers made from one range of layers of each source. */
export interface RecipeSlice {
  readonly sources: readonly RecipeSource[];
  readonly parameters: ParameterSettings;
  readonly range: SourceRange;
}

/** A part of a model; models of one part have the single module `default`. */
export interface RecipeModule {
  readonly name: string;
  readonly slices: readonly RecipeSlice[];
  readonly parameters: ParameterSettings;
  readonly range: SourceRange;
}

/** Where the rows of a token come from in models that lack it. */
export type TokenSource =
  /** The model's row for the same token. */
  | { readonly kind: "model"; readonly model: ModelReference }
  /** The model's row for another token, named by text or by number. */
  | { readonly kind: "token"; readonly model: ModelReference; readonly token?: string; readonly id?: number }
  | { readonly kind: "zero" };

/** What the recipe says of one token. */
export interface TokenRequest {
  readonly token: string;
  readonly source: TokenSource | undefined;
  /** The source's row is used for all models, also for those that have the token. */
  readonly force: boolean;
  readonly range: SourceRange;
}

/** What the recipe asks of the vocabulary; absent: the donor's tokenizer files are taken as they are. */
export interface TokenizerRequest {
  readonly source: "union" | "base" | ModelReference;
  readonly tokens: readonly TokenRequest[];
  readonly padToMultipleOf: number | undefined;
  readonly range: SourceRange;
}

/** Another treatment of some tensors. */
export interface MethodOverride extends TensorFilter {
  readonly method: MergeMethod;
  readonly methodRange: SourceRange;
  /** Go before all others for these tensors. */
  readonly parameters: ParameterSettings;
  /** The models that take part, besides a base that the method needs; absent for all. */
  readonly models: readonly ModelReference[] | undefined;
  readonly range: SourceRange;
}

/** `union`: the tensors of all models, each merged from those that have it. `intersection`: those that all models have. */
export const TENSOR_NAMES = ["union", "intersection"] as const;
export type TensorNames = (typeof TENSOR_NAMES)[number];

export interface Recipe {
  /** The path as the user gave it. */
  readonly file: string;
  readonly text: string;
  readonly method: MergeMethod;
  readonly methodRange: SourceRange;
  readonly base: ModelReference | undefined;
  readonly modules: readonly RecipeModule[];
  readonly parameters: ParameterSettings;
  /** The first that fits a tensor decides. */
  readonly overrides: readonly MethodOverride[];
  readonly dtype: FloatDType | undefined;
  readonly outDtype: FloatDType | undefined;
  /** Which tensors the output has where the models' names differ; absent: they may not. */
  readonly tensorNames: TensorNames | undefined;
  readonly tokenizer: TokenizerRequest | undefined;
  readonly chatTemplate: { readonly text: string; readonly range: SourceRange } | undefined;
}
