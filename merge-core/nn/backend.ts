// The tfjs backend "weightsmith": tfjs-core differentiates, our kernels compute. Every kernel of the stock cpu backend
// is registered as a fallback, so a new operation works before it is fast.
import * as tf from "@tensorflow/tfjs-core";
import { createPool } from "../compute/pool.ts";
import type { Blas } from "../compute/providers/blas.ts";
import { registerElementwise } from "./kernels/elementwise.ts";
import { registerFused } from "./kernels/fused.ts";
import { registerLoraLinear } from "./kernels/lora-linear.ts";
import { registerMatMul } from "./kernels/matmul.ts";
import { registerMovement } from "./kernels/movement.ts";
import { registerReductions } from "./kernels/reduce.ts";
import { BACKEND_NAME, SharedBackend } from "./storage.ts";

export interface BackendOptions {
  /** Threads to compute with; results do not depend on it. Default: the cores this process may use. */
  readonly threads?: number;
  /** Does the matrix products, loaded for one thread: every thread calls it. Last digits then depend on the library, not on `threads`. Default: our kernels. */
  readonly blas?: Blas | undefined;
}

let kernelsRegistered = false;

/**
 * Makes "weightsmith" the active tfjs backend. A call with another number of threads or another BLAS replaces it; tensors of the
 * old one move over when they are next used.
 */
export async function initBackend({ threads, blas }: BackendOptions = {}): Promise<void> {
  tf.enableProdMode();
  if (!kernelsRegistered) registerKernels();
  const present = tf.findBackend(BACKEND_NAME) as SharedBackend | null;
  const isOther = present !== null && ((threads !== undefined && present.pool.threads !== threads) || present.pool.blas?.file !== blas?.file);
  if (isOther) tf.removeBackend(BACKEND_NAME);
  if (tf.findBackend(BACKEND_NAME) === null) {
    const pool = createPool({ ...(threads === undefined ? {} : { threads }), blas });
    tf.registerBackend(BACKEND_NAME, () => new SharedBackend(pool));
  }
  await tf.setBackend(BACKEND_NAME);
}

function registerKernels(): void {
  tf.copyRegisteredKernels("cpu", BACKEND_NAME);
  registerElementwise();
  registerReductions();
  registerMovement();
  registerMatMul();
  registerFused();
  registerLoraLinear();
  kernelsRegistered = true;
}
