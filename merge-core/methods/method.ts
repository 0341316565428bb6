// What a merge method is: one file that says everything about it. Validation, JSON schema, hover text,
// `weightsmith methods` and the README's table are generated from this description.

import type { TensorEngine } from "../compute/engine.ts";
import type { Expr } from "../compute/expr.ts";
import type { Diagnostic } from "../diagnostics.ts";

/** One recipe parameter. Flags accept true/false/0/1 and are held as 0 or 1. */
export interface ParameterSpec {
  readonly name: string;
  /** `global` values are read from slice, module and recipe level; `model` values also from the model's own entry. */
  readonly scope: "global" | "model";
  readonly type: "number" | "integer" | "flag";
  /** Absent: the recipe must give it. `null`: unset is a meaning of its own (passthrough's scale). */
  readonly default?: number | null;
  /** Legal range, as `(0, 1]` would be written: bounds and whether each belongs to it. */
  readonly range?: { readonly min?: number; readonly max?: number; readonly minOpen?: boolean; readonly maxOpen?: boolean };
  readonly doc: string;
}

export interface Paper {
  readonly title: string;
  readonly url: string;
  readonly year: number;
}

/** One input of one output tensor, with its parameters resolved for this tensor. */
export interface MergeInput {
  /** Index for `expr.input`. */
  readonly index: number;
  /** Model reference as the recipe wrote it. */
  readonly model: string;
  /** Position of the model in the recipe, base included; the key of its random stream. */
  readonly modelIndex: number;
  readonly isBase: boolean;
  readonly parameters: Readonly<Record<string, number | null>>;
  /** Index for `expr.input` of the model's Fisher information of this tensor, element by element. */
  readonly fisher?: number;
  readonly gram?: GramSource;
}

/** The mean of x x^T over the inputs x of a layer. */
export interface GramSource {
  /** The dimension of the weights that the layer's inputs go along; columns but for Conv1D. */
  readonly side: "rows" | "columns";
  /** Reads it row by row into `target`, as long as that dimension squared. */
  read(target: Float32Array): Promise<void>;
}

/** What a method wants to know of each model's data, from a file that the recipe names under this key. */
export const STATISTICS_KINDS = ["fisher", "gram"] as const;
export type StatisticsKind = (typeof STATISTICS_KINDS)[number];

/** Everything a method knows about the tensor it merges. */
export interface MergeTask {
  /** Output tensor name. */
  readonly name: string;
  readonly shape: readonly number[];
  /** All inputs in recipe order; the base, if any, is among them. */
  readonly inputs: readonly MergeInput[];
  readonly base: MergeInput | undefined;
  /** The inputs that are not the base, in recipe order. */
  readonly others: readonly MergeInput[];
  readonly parameters: Readonly<Record<string, number | null>>;
  /** The tensor is a weight with a row per input (Conv1D), where others have a row per output. */
  readonly inputsAlongRows?: boolean;
  /** Key of the run's random numbers, for draws that are not the engine's. */
  readonly seed?: number;
  /** What the method's statistic found over all tensors. */
  readonly statistics?: Readonly<Record<string, number>>;
  /** Adds a finding about this tensor to the run's warnings. */
  warn(diagnostic: Omit<Diagnostic, "severity">): void;
}

/**
 * `element`: one pass, formula known without looking at the data. `tensor`: reductions over the tensor first.
 * `matrix`: whole 2-D tensors in memory (GEMM, SVD). `model`: statistics over every tensor first.
 */
export type MethodKind = "element" | "tensor" | "matrix" | "model";

/** Numbers that depend on every tensor, taken before the first is merged. */
export interface ModelStatistic {
  /** Times that the tensors are read for it. */
  readonly rounds: number;
  /** Whether a tensor of `size` elements takes part, by its parameters. */
  applies(task: MergeTask, size: number): boolean;
  /** What one tensor adds in a round; sums are taken by key. `known` is what the round before concluded, empty in the first. */
  gather(task: MergeTask, engine: TensorEngine, known: Readonly<Record<string, number>>): Promise<ReadonlyMap<string, Float64Array>>;
  /** From the sums of a round to what the next one, in the end every task, is told. */
  conclude(sums: ReadonlyMap<string, Float64Array>, known: Readonly<Record<string, number>>): Readonly<Record<string, number>>;
}

export interface MergeMethod {
  /** The name in recipes. */
  readonly id: string;
  readonly title: string;
  readonly kind: MethodKind;
  readonly summary: string;
  /** The formula as text, for hover and help. */
  readonly formula: string;
  readonly paper: Paper | undefined;
  readonly parameters: readonly ParameterSpec[];
  /** `one-of`: required, and it is one of the listed models (slerp). */
  readonly base: "none" | "optional" | "required" | "one-of";
  /** How many models besides the base. */
  readonly models: { readonly min: number; readonly max: number };
  /** How many times the inputs are read, statistics passes included, for the plan's estimate. */
  readonly passes: number;
  /** Of formulas with values of rows, columns, ranks or turns: how many such values there are for an element. */
  sides?(others: number, parameters: MergeTask["parameters"]): number;
  /** How many values of an element are kept between passes where memory allows. @param others models besides the base */
  keeps?(others: number): number;
  /**
   * Bytes that merging a tensor of this shape needs beside its inputs and output, whatever the budget.
   * @param others models besides the base
   */
  workingBytes?(shape: readonly number[], others: number, parameters: MergeTask["parameters"]): number;
  /** The result is an average: weights should sum to 1, unless its flag `normalize` divides by their sum. */
  readonly average?: true;
  /** The file of statistics that every model of the recipe must come with. */
  readonly data?: StatisticsKind;
  /** What must be known of all tensors before one is merged. */
  readonly statistic?: ModelStatistic;
  /** Problems that the parameters alone show, without the data; found while planning, and a plan is refused for them. */
  check?(task: Omit<MergeTask, "warn">): Omit<Diagnostic, "severity"> | undefined;
  /** Element-wise result in terms of `input(i)`; may consult the engine for reductions. */
  merge(task: MergeTask, engine: TensorEngine): Expr | Promise<Expr>;
}
