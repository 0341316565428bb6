// How a WASM kernel becomes a tfjs kernel: try the fast path, else the stock cpu kernel, which reads the same memory.
import * as tf from "@tensorflow/tfjs-core";
import { cut } from "../../compute/gemm.ts";
import type { ComputePool } from "../../compute/pool.ts";
import { BACKEND_NAME, type SharedBackend } from "../storage.ts";

export interface KernelCall {
  readonly inputs: Readonly<Record<string, tf.TensorInfo>>;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly backend: SharedBackend;
}

/** Computes, or returns undefined for a case left to the stock kernel. */
export type FastPath = (call: KernelCall) => tf.TensorInfo | tf.TensorInfo[] | undefined;

/** Registers `fast` for the backend, with the cpu kernel of that name (if there is one) for what it declines. */
export function registerFast(kernelName: string, fast: FastPath): void {
  const stock = tf.getKernel(kernelName, "cpu") as tf.KernelConfig | undefined;
  if (tf.getKernel(kernelName, BACKEND_NAME)) tf.unregisterKernel(kernelName, BACKEND_NAME);
  tf.registerKernel({
    kernelName,
    backendName: BACKEND_NAME,
    kernelFunc: (params) => {
      const backend = params.backend as SharedBackend;
      try {
        const result = fast({ inputs: params.inputs as KernelCall["inputs"], attrs: params.attrs ?? {}, backend }) ?? stock?.kernelFunc(params);
        if (result === undefined) throw new TypeError(`kernel ${kernelName} does not handle these inputs`);
        return result;
      } finally {
        backend.afterKernel();
      }
    },
  });
}

/** Work below which one thread is faster than waking another; the unit is one addition from memory to memory, about 0.1 ns. */
const MIN_PART = 1 << 17;
export const EXP_WORK = 8;
const PARTS_PER_THREAD = 2;

/**
 * Calls a kernel over [0, count) in ranges, on all threads if there is enough to do.
 * @param work what one unit of `count` costs, in additions; an exponential costs about EXP_WORK.
 * @param multiple range borders are multiples of it.
 */
export function fanOut(pool: ComputePool, kernel: string, count: number, work: number, multiple: number, args: (from: number, to: number) => number[]): void {
  const parts = pool.threads === 1 ? 1 : Math.min(pool.threads * PARTS_PER_THREAD, Math.floor((count * work) / MIN_PART));
  if (parts < 2) {
    if (count > 0) pool.context.kernel(kernel)(...args(0, count));
    return;
  }
  pool.runSync(
    kernel,
    cut(count, parts, multiple).map(([from, to]) => args(from, to)),
  );
}

export const allFloat = (...tensors: readonly (tf.TensorInfo | undefined)[]): boolean => tensors.every((tensor) => tensor?.dtype === "float32");

/** Shares the data of `tensor` under another shape, as tfjs's Reshape does. */
export function reshaped(backend: SharedBackend, tensor: tf.TensorInfo, shape: number[]): tf.TensorInfo {
  backend.incRef(tensor.dataId);
  return { dataId: tensor.dataId, shape, dtype: tensor.dtype };
}
