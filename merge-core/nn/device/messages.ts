// What the thread that owns a device is asked, and answers. Tensors are known by numbers that the asking side gives.
import type * as tf from "@tensorflow/tfjs-core";
import type { TfjsDevice } from "../../compute/providers/load-tfjs.ts";

export type Numbers = Float32Array | Int32Array | Uint8Array;
export type NumericType = "float32" | "int32" | "bool";

export interface DeviceStart {
  readonly device: TfjsDevice;
  /** One word: 1 while the asking thread waits. */
  readonly board: SharedArrayBuffer;
  readonly port: import("node:worker_threads").MessagePort;
}

/** What comes of starting: the operations that the device knows, or why there is none. */
export interface DeviceReady {
  readonly kernels: readonly string[];
  readonly name: string;
  readonly failure?: string;
}

export interface TensorRef {
  readonly id: number;
  readonly shape: readonly number[];
}

export interface TensorMeta {
  readonly shape: number[];
  readonly dtype: tf.DataType;
}

export type DeviceRequest =
  | { readonly kind: "write"; readonly id: number; readonly values: Numbers; readonly shape: readonly number[]; readonly dtype: NumericType }
  | {
      readonly kind: "run";
      readonly kernel: string;
      /** In the order of `names`; a list has none. */
      readonly inputs: readonly TensorRef[];
      readonly names: readonly string[] | undefined;
      readonly attrs: object;
      /** Number of the first result. */
      readonly firstId: number;
      /** The shapes of the results, where the asking side knows them and does not wait. */
      readonly expected: readonly (readonly number[])[] | undefined;
    }
  | { readonly kind: "read"; readonly ids: readonly number[] }
  /** Gives the device up as a driver would, for tests. */
  | { readonly kind: "lose" };

/** Numbers of tensors that are no longer needed come with the next request. */
export type DeviceMessage = DeviceRequest & { readonly free: readonly number[] };

export interface DeviceAnswer {
  readonly failure?: string;
  readonly results?: readonly TensorMeta[];
  readonly isList?: boolean;
  readonly values?: readonly Numbers[];
}

export const WAITING = 1;
export const ANSWERED = 0;
