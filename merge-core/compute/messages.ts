// What the pool and its workers say to each other.
import { type Diagnostic, WeightsmithError } from "../diagnostics.ts";
import type { TileJob, TileResult } from "./tile-job.ts";

export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly board: SharedArrayBuffer;
  readonly index: number;
  /** File of the library that kernels may call. */
  readonly blas?: string | undefined;
}

export type ToWorker = { readonly kind: "park" } | { readonly kind: "job"; readonly id: number; readonly job: TileJob; readonly part: number };

export type FromWorker = { readonly id: number; readonly result: TileResult } | { readonly id: number; readonly failure: Failure };

/** An error in a form that survives the thread border. */
export interface Failure {
  readonly message: string;
  readonly diagnostics?: readonly Diagnostic[];
  readonly exitCode?: WeightsmithError["exitCode"];
}

export function toFailure(error: unknown): Failure {
  if (error instanceof WeightsmithError) return { message: error.message, diagnostics: error.diagnostics, exitCode: error.exitCode };
  return { message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

export function fromFailure(failure: Failure): Error {
  if (failure.diagnostics === undefined) return new Error(`a compute worker failed: ${failure.message}`);
  return new WeightsmithError(failure.diagnostics, { exitCode: failure.exitCode ?? 1 });
}
