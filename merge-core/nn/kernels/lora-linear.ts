// A linear layer with a low-rank change, in the memory of one: the change is added where the layer's own product lies.
import type * as tf from "@tensorflow/tfjs-core";
import { gemm, type MatrixView, matrix } from "../../compute/gemm.ts";
import type { SharedBackend } from "../storage.ts";
import { fanOut, type KernelCall, registerFast } from "./kernel.ts";
import { multiplyWeight } from "./weight-product.ts";

export function registerLoraLinear(): void {
  registerFast("FusedLoraLinear", loraLinear);
  registerFast("FusedLoraLinearInputGrad", inputGrad);
}

const sizes = (x: tf.TensorInfo): [number, number] => [x.shape[0] ?? 0, x.shape[1] ?? 0];

function view(backend: SharedBackend, x: tf.TensorInfo, transposed = false): MatrixView {
  return matrix(backend.address(x), ...sizes(x), transposed);
}

/** y = x W^T + h B^T and h = scale x A^T. */
function loraLinear({ inputs: { x, weight, a, b }, attrs, backend }: KernelCall): tf.TensorInfo[] {
  const { pool } = backend;
  const [[rows, inputs], [columns], [rank]] = [sizes(x!), sizes(weight!), sizes(a!)];
  const [y, h] = [backend.output([rows, columns]), backend.output([rows, rank])];
  multiplyWeight(backend, { rows, x: view(backend, x!), weight: weight!, transposed: true, to: backend.address(y) });
  gemm(pool, { rows, columns: rank, depth: inputs, a: view(backend, x!), b: view(backend, a!, true), c: view(backend, h) });
  const hidden = backend.address(h);
  fanOut(pool, "scaleRun", rows * rank, 1, 4, (from, to) => [hidden + from * 4, to - from, attrs.scale as number]);
  gemm(pool, { rows, columns, depth: rank, a: view(backend, h), b: view(backend, b!, true), c: view(backend, y), accumulate: true });
  return [y, h];
}

/** dx = dy W + dh A. */
function inputGrad({ inputs: { dy, weight, dHidden, a }, backend }: KernelCall): tf.TensorInfo {
  const [[rows], [, inputs], [rank]] = [sizes(dy!), sizes(weight!), sizes(a!)];
  const dx = backend.output([rows, inputs]);
  multiplyWeight(backend, { rows, x: view(backend, dy!), weight: weight!, transposed: false, to: backend.address(dx) });
  gemm(backend.pool, { rows, columns: inputs, depth: rank, a: view(backend, dHidden!), b: view(backend, a!), c: view(backend, dx), accumulate: true });
  return dx;
}
