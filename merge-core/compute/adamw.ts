// AdamW (Loshchilov & Hutter 2019, 1711.05101) and the gradient norm over the shared memory, on all threads.
import { cut } from "./gemm.ts";
import type { ComputePool } from "./pool.ts";

/** Addresses of four float32 arrays of `size` elements. */
export interface AdamWArrays {
  readonly param: number;
  readonly grad: number;
  /** Running mean of gradients. */
  readonly m: number;
  /** Running mean of squared gradients. */
  readonly v: number;
  readonly size: number;
}

export interface AdamWSettings {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** From 1. */
  readonly step: number;
  /** Gradients are multiplied by this first (clipping). Default 1. */
  readonly gradScale?: number;
}

/** Elements whose squares are summed by one thread without a break; fixed, so that sums do not depend on the thread count. */
const SUM_BLOCK = 1 << 14;
const MIN_PART = 1 << 15;

function parts(pool: ComputePool, size: number, multiple: number): [number, number][] {
  return cut(size, Math.max(1, Math.min(pool.threads * 2, Math.floor(size / MIN_PART))), multiple);
}

/** One step in place on param, m and v, float32, in torch's order of operations. */
export function adamwStep(pool: ComputePool, { param, grad, m, v, size }: AdamWArrays, settings: AdamWSettings): void {
  const { lr, beta1, beta2, eps, weightDecay, step, gradScale = 1 } = settings;
  const stepSize = lr / (1 - beta1 ** step);
  const root = 1 / Math.sqrt(1 - beta2 ** step);
  const numbers = [1 - lr * weightDecay, beta1, 1 - beta1, beta2, 1 - beta2, stepSize, root, eps, gradScale];
  pool.runSync(
    "adamw",
    parts(pool, size, 4).map(([from, to]) => [...[param, grad, m, v].map((address) => address + from * 4), to - from, ...numbers]),
  );
}

/** The same step on plain arrays, where the parameters are on another device than ours. */
export function adamwOnArrays({ param, grad, m, v }: Readonly<Record<"param" | "grad" | "m" | "v", Float32Array>>, settings: AdamWSettings): void {
  const { lr, beta1, beta2, eps, weightDecay, step, gradScale = 1 } = settings;
  const [keep, stepSize, root] = [1 - lr * weightDecay, lr / (1 - beta1 ** step), 1 / Math.sqrt(1 - beta2 ** step)];
  for (let i = 0; i < param.length; i++) {
    const g = (grad[i] as number) * gradScale;
    const mean = beta1 * (m[i] as number) + (1 - beta1) * g;
    const square = beta2 * (v[i] as number) + (1 - beta2) * g * g;
    m[i] = mean;
    v[i] = square;
    param[i] = (param[i] as number) * keep - (stepSize * mean) / (Math.sqrt(square) * root + eps);
  }
}

/** Sum of squares of `size` float32 elements, in float64 over fixed blocks in order. */
export function sumSquares(pool: ComputePool, address: number, size: number): number {
  const blocks = Math.ceil(size / SUM_BLOCK);
  if (blocks === 0) return 0;
  const partial = pool.arena.alloc(blocks * 8);
  try {
    pool.runSync(
      "sumSquaresBlocks",
      parts(pool, size, SUM_BLOCK).map(([from, to]) => [address + from * 4, partial + (from / SUM_BLOCK) * 8, to - from, SUM_BLOCK]),
    );
    return new Float64Array(pool.memory.buffer, partial, blocks).reduce((sum, x) => sum + x, 0);
  } finally {
    pool.arena.free(partial);
  }
}
