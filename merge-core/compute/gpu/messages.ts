// What the GPU's thread is asked and answers. Arrays are views of shared memory.
import type { Program } from "../program.ts";
import type { GpuProduct } from "./matrices.ts";
import type { GpuPass, GpuPassResult } from "./passes.ts";
import type { TripletsRequest } from "./triplets.ts";

export interface GpuWorkerStart {
  /** One word that is 1 while a call waits, and after it the bytes of what went wrong. */
  readonly board: SharedArrayBuffer;
  readonly flags: readonly string[];
  readonly memoryBytes: number | undefined;
}

export type GpuRequest =
  | { readonly kind: "open" }
  | { readonly kind: "product"; readonly product: GpuProduct }
  | { readonly kind: "polar"; readonly rows: number; readonly columns: number; readonly a: Float32Array; readonly norm: number; readonly into: Float32Array }
  | { readonly kind: "triplets"; readonly request: TripletsRequest }
  | { readonly kind: "pass"; readonly program: Program; readonly pass: Omit<GpuPass, "program"> }
  /** Gives the device up as a driver would, for tests. */
  | { readonly kind: "lose" };

export interface GpuAnswer {
  readonly id: number;
  readonly name?: string;
  readonly maxBytes?: number;
  readonly result?: GpuPassResult;
  readonly failure?: string;
}

export const WAITING = 1;
export const DONE = 0;
export const FAILED = 2;
export const BOARD_BYTES = 4096;
