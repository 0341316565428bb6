// The tfjs backend "weightsmith": tfjs-core differentiates, our kernels compute. Every kernel of the stock cpu backend
// is registered as a fallback, so a new operation works before it is fast.
import { MathBackendCPU } from "@tensorflow/tfjs-backend-cpu";
import * as tf from "@tensorflow/tfjs-core";

export interface BackendOptions {
  /** Threads to compute with; results do not depend on it. */
  readonly threads?: number;
}

/** Registers the backend under the name "weightsmith" (once) and makes it the active one. */
export async function initBackend(_options: BackendOptions = {}): Promise<void> {
  tf.enableProdMode();
  if (tf.findBackend("weightsmith") === null) {
    tf.registerBackend("weightsmith", () => new MathBackendCPU());
    tf.copyRegisteredKernels("cpu", "weightsmith");
  }
  await tf.setBackend("weightsmith");
}
