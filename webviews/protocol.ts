// Every message between the extension host and a page, both directions. A page says `ready` first and gets the whole
// state; a later state replaces the former whole, so a page that was hidden lacks nothing. Each request ends in exactly
// one of result, error or cancelled.
import type { Comparison, TensorSpectra } from "../merge-core/analysis/comparison.ts";
import type { TensorStatistics } from "../merge-core/analysis/tensor-statistics.ts";
import type { CheckpointSummary } from "../merge-core/checkpoints/describe.ts";
import type { Diagnostic } from "../merge-core/diagnostics.ts";
import type { FrontFile } from "../merge-core/pareto/front-file.ts";
import type { LogRecord } from "../merge-core/train/log.ts";

export const PROTOCOL_VERSION = 1;

/** Methods of a page by name, with what they take and give. */
export type Methods = Readonly<Record<string, { params: unknown; result: unknown }>>;

export type ToHost =
  | { readonly kind: "ready"; readonly version: number }
  | { readonly kind: "request"; readonly id: number; readonly method: string; readonly params: unknown }
  | { readonly kind: "cancel"; readonly id: number };

export type ToPage<State> =
  | { readonly kind: "state"; readonly state: State }
  /** A large state as the bytes of its JSON: the editor passes bytes on as they are, and takes objects apart value by value. */
  | { readonly kind: "packed-state"; readonly json: Uint8Array }
  | { readonly kind: "result"; readonly id: number; readonly value: unknown }
  | { readonly kind: "error"; readonly id: number; readonly diagnostics: readonly Diagnostic[] }
  | { readonly kind: "cancelled"; readonly id: number };

/** What the checkpoint page shows: the headers, or why there are none. */
export type InspectorState =
  | { readonly kind: "checkpoint"; readonly summary: CheckpointSummary /** Of adapter_config.json. */; readonly adapter?: Readonly<Record<string, unknown>> }
  | { readonly kind: "problem"; readonly path: string; readonly diagnostics: readonly Diagnostic[] };

export type InspectorMethods = {
  /** Puts text on the clipboard; pages have no access of their own. */
  copy: { params: string; result: undefined };
  /** Reads a tensor's values, by its name. */
  measure: { params: string; result: TensorStatistics };
  /** Asks for models to compare this one with. */
  compare: { params: undefined; result: undefined };
  /** Reads the file again. */
  reload: { params: undefined; result: undefined };
};

/** A file that a page exports; the host asks where it is to go. */
export interface ExportedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export type ExportMethods = {
  save: { params: ExportedFile; result: undefined };
};

/** What the similarity page shows. */
export interface ComparisonState {
  readonly comparison: Comparison;
  /** Where the host finds the comparison again after a reload of the window; kept by the page. */
  readonly key: string;
  /** Merge methods that a recipe may name. */
  readonly methods: readonly string[];
}

/** Another treatment of some tensors, to be written into a recipe. */
export interface RecipeChange {
  /** Without a method the tensors are left as the base has them. */
  readonly method?: string;
  readonly patterns: readonly string[];
}

export type ComparisonMethods = ExportMethods & {
  /** Writes the change into the open recipe; gives the recipe's name, undefined if the user thought better of it. */
  changeRecipe: { params: RecipeChange; result: string | undefined };
  /** Measures the singular values and subspaces of a tensor, by its name. */
  spectra: { params: string; result: TensorSpectra };
  /** Compares again with the subspaces of every matrix; the state changes when it is done. */
  subspaces: { params: undefined; result: undefined };
};

/** What the trade-off page shows: a search's result, or why there is none. */
export type ParetoState =
  | { readonly kind: "front"; readonly file: FrontFile; readonly name: string /** A search goes on that writes it. */; readonly running: boolean }
  | { readonly kind: "problem"; readonly path: string; readonly diagnostics: readonly Diagnostic[] };

export type ParetoMethods = ExportMethods & {
  /** The recipe of a setting of the coefficients. */
  recipeAt: { params: readonly number[]; result: string };
  /** Starts the merge of a setting; gives the name of its output, undefined if the user thought better of it. */
  writeMerge: { params: readonly number[]; result: string | undefined };
  /** Starts the measuring of a setting; the file changes when it is done. */
  evaluate: { params: readonly number[]; result: undefined };
  reload: { params: undefined; result: undefined };
};

/** A setting of a search whose result a notebook shows, by the path of its file as the output tells it. */
export interface FrontSetting {
  readonly front: string;
  readonly coefficients: readonly number[];
}

/** What a comparison in a notebook is of: outputs that compare the same are alike. */
export type Compared = Pick<Comparison, "base" | "models" | "density">;

/** What outputs of searches in notebooks ask for; their results are those of `ParetoMethods`. */
export type FrontOutputMethods = {
  recipeAt: { params: FrontSetting; result: string };
  writeMerge: { params: FrontSetting; result: string | undefined };
  /** The output changes when it is done. */
  evaluate: { params: FrontSetting; result: undefined };
};

/** What comparisons in notebooks ask for; their results are those of `ComparisonMethods`. */
export type CompareOutputMethods = {
  /** Merge methods that a recipe may name. */
  methods: { params: undefined; result: readonly string[] };
  /** Writes the change into a merge cell; gives a name for it, undefined if the user thought better of it. */
  changeRecipe: { params: { readonly compared: Compared; readonly change: RecipeChange }; result: string | undefined };
  spectra: { params: { readonly compared: Compared; readonly tensor: string }; result: TensorSpectra };
  /** The output changes when it is done. */
  subspaces: { params: Compared; result: undefined };
};

export type NotebookMethods = FrontOutputMethods & CompareOutputMethods;

/** A training run by its log. */
export interface TrainingRun {
  readonly name: string;
  /** Path of its log, which tells runs of one name apart. */
  readonly log: string;
  readonly records: readonly LogRecord[];
  readonly running: boolean;
  /** What was trained, by name, once it is written. */
  readonly tensors?: readonly { readonly name: string; readonly shape: readonly number[] }[];
}

/** How far a run was at a moment. */
export interface RunSample {
  /** Since the run began. */
  readonly seconds: number;
  readonly done: number;
  readonly bytesRead?: number;
  readonly values?: number;
}

export interface FollowedRun {
  readonly id: string;
  readonly title: string;
  readonly status: "running" | "done" | "failed" | "cancelled" | "died";
  /** In words, such as `merge 42 %, 12 s left`. */
  readonly text: string;
  readonly unit: string;
  readonly fraction: number;
  readonly detail?: string;
  readonly shard?: { readonly file: string; readonly number: number; readonly count: number };
  readonly samples: readonly RunSample[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface RunsState {
  readonly trainings: readonly TrainingRun[];
  readonly runs: readonly FollowedRun[];
  /** Logs that were opened by hand; kept by the page for a reload of the window. */
  readonly logs: readonly string[];
}

export type RunsMethods = ExportMethods & {
  /** Asks for more logs to show. */
  addLogs: { params: undefined; result: undefined };
  cancel: { params: string; result: undefined };
};
