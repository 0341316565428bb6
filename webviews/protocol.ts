// Every message between the extension host and a page, both directions. A page says `ready` first and gets the whole
// state; a later state replaces the former whole, so a page that was hidden lacks nothing. Each request ends in exactly
// one of result, error or cancelled.
import type { TensorStatistics } from "../merge-core/analysis/tensor-statistics.ts";
import type { CheckpointSummary } from "../merge-core/checkpoints/describe.ts";
import type { Diagnostic } from "../merge-core/diagnostics.ts";

export const PROTOCOL_VERSION = 1;

/** Methods of a page by name, with what they take and give. */
export type Methods = Readonly<Record<string, { params: unknown; result: unknown }>>;

export type ToHost =
  | { readonly kind: "ready"; readonly version: number }
  | { readonly kind: "request"; readonly id: number; readonly method: string; readonly params: unknown }
  | { readonly kind: "cancel"; readonly id: number };

export type ToPage<State> =
  | { readonly kind: "state"; readonly state: State }
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
