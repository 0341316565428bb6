// Where the time of a training step goes: every tfjs kernel of our backend is timed, by what it is for.
import * as tf from "@tensorflow/tfjs-core";
import { BACKEND_NAME } from "../../merge-core/nn/storage.ts";

/** The last is what no kernel takes: the graph, its gradients, and reading the loss. */
export const STEP_PARTS = ["matrix products", "attention", "softmax and loss", "norms, positions, activations", "other kernels", "optimiser", "graph"] as const;
type StepPart = (typeof STEP_PARTS)[number];

const NAMES: readonly (readonly [RegExp, StepPart])[] = [
  [/MatMul|Lora/, "matrix products"],
  [/Attention/, "attention"],
  [/CrossEntropy|Softmax/, "softmax and loss"],
  [/RmsNorm|LayerNorm|SwiGlu|Gelu|Rope/, "norms, positions, activations"],
];

export interface KernelTimes {
  /** Seconds since the last call, by kernel. */
  take(): Map<string, number>;
}

/** Times all kernels from now on; kernels do not call each other through the engine, so that nothing is counted twice. */
export function timeKernels(): KernelTimes {
  let times = new Map<string, number>();
  for (const kernel of tf.getKernelsForBackend(BACKEND_NAME)) {
    tf.unregisterKernel(kernel.kernelName, BACKEND_NAME);
    const kernelFunc: tf.KernelFunc = (params) => {
      const start = performance.now();
      const result = kernel.kernelFunc(params);
      times.set(kernel.kernelName, (times.get(kernel.kernelName) ?? 0) + (performance.now() - start) / 1000);
      return result;
    };
    tf.registerKernel({ ...kernel, kernelFunc });
  }
  return {
    take() {
      const taken = times;
      times = new Map();
      return taken;
    },
  };
}

/** Seconds of each part of a step. */
export function partsOf(kernels: ReadonlyMap<string, number>, optimiser: number, step: number): Map<StepPart, number> {
  const parts = new Map<StepPart, number>([["optimiser", optimiser]]);
  for (const [name, seconds] of kernels) {
    const part = NAMES.find(([found]) => found.test(name))?.[1] ?? "other kernels";
    parts.set(part, (parts.get(part) ?? 0) + seconds);
  }
  return parts.set("graph", step - [...parts.values()].reduce((sum, seconds) => sum + seconds, 0));
}
