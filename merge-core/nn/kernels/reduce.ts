// Sums, means, maxima and softmax. Sums run in float64 and are rounded once.
import * as tf from "@tensorflow/tfjs-core";
import type { SharedBackend } from "../storage.ts";
import { allFloat, EXP_WORK, fanOut, type KernelCall, registerFast } from "./kernel.ts";

export function registerReductions(): void {
  registerFast("Sum", (call) => sum(call, () => 1));
  registerFast("Mean", (call) => sum(call, (count) => 1 / count));
  registerFast("Max", maximum);
  registerFast("Softmax", softmax);
}

/** A reduction as outer x reduced x inner, if the reduced axes are neighbours. */
interface Layout {
  readonly outer: number;
  readonly reduced: number;
  readonly inner: number;
  readonly outShape: number[];
}

function layoutOf(x: tf.TensorInfo, axis: unknown, keepDims: unknown): Layout | undefined {
  const axes = tf.util.parseAxisParam((axis ?? x.shape.map((_, i) => i)) as number | number[], x.shape);
  const isReduced = (i: number) => axes.includes(i);
  const wide = x.shape.map((size, i) => (size === 1 ? undefined : isReduced(i))).filter((reduced) => reduced !== undefined);
  const from = wide.indexOf(true);
  const to = wide.lastIndexOf(true);
  if (from >= 0 && wide.slice(from, to + 1).includes(false)) return undefined;
  const first = x.shape.findIndex((size, i) => isReduced(i) && size !== 1);
  const product = (keep: (i: number) => boolean) => x.shape.reduce((size, n, i) => (keep(i) ? size * n : size), 1);
  const outShape = keepDims ? x.shape.map((size, i) => (isReduced(i) ? 1 : size)) : x.shape.filter((_, i) => !isReduced(i));
  const outer = first < 0 ? product(() => true) : product((i) => !isReduced(i) && i < first);
  return { outer, reduced: product(isReduced), inner: first < 0 ? 1 : product((i) => !isReduced(i) && i > first), outShape };
}

function sum({ inputs: { x }, attrs, backend }: KernelCall, scaleOf: (count: number) => number): tf.TensorInfo | undefined {
  if (x === undefined || !allFloat(x)) return undefined;
  const layout = layoutOf(x, attrs.axis, attrs.keepDims);
  if (layout === undefined || layout.reduced === 0) return undefined;
  const { outer, reduced, inner, outShape } = layout;
  const scale = scaleOf(reduced);
  const out = backend.output(outShape);
  const [from, to] = [backend.address(x), backend.address(out)];
  if (inner === 1) {
    fanOut(backend.pool, "sumRows", outer, reduced, 1, (r0, r1) => [from + r0 * reduced * 4, to + r0 * 4, r1 - r0, reduced, scale]);
    return out;
  }
  for (let i = 0; i < outer; i++) {
    const matrix = from + i * reduced * inner * 4;
    fanOut(backend.pool, "sumColumns", inner, reduced, 16, (j0, j1) => [matrix, to + i * inner * 4, reduced, inner, j0, j1, scale]);
  }
  return out;
}

function maximum({ inputs: { x }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (x === undefined || !allFloat(x)) return undefined;
  const layout = layoutOf(x, attrs.reductionIndices, attrs.keepDims);
  if (layout === undefined || layout.inner !== 1 || layout.reduced === 0) return undefined;
  return byRows(backend, "maxRows", x, layout.outShape, layout.outer, layout.reduced, 1);
}

function softmax({ inputs: { logits }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (logits === undefined || !allFloat(logits) || (attrs.dim !== logits.shape.length - 1 && attrs.dim !== -1)) return undefined;
  const n = logits.shape.at(-1) ?? 1;
  if (n === 0) return undefined;
  return byRows(backend, "softmaxRows", logits, logits.shape, tf.util.sizeFromShape(logits.shape) / n, n, n, EXP_WORK);
}

function byRows(
  backend: SharedBackend,
  kernel: string,
  x: tf.TensorInfo,
  outShape: number[],
  rows: number,
  n: number,
  outWidth: number,
  work = 1,
): tf.TensorInfo {
  const out = backend.output(outShape);
  const [from, to] = [backend.address(x), backend.address(out)];
  fanOut(backend.pool, kernel, rows, n * work, 1, (r0, r1) => [from + r0 * n * 4, to + r0 * outWidth * 4, r1 - r0, n]);
  return out;
}
