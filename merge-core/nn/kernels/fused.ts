// Kernels that tfjs does not have: whole decoder layers, forward and backward, on compute/kernels/nn. Activations are 2-D
// [positions, features]; nn/ops gives them gradients.
import type * as tf from "@tensorflow/tfjs-core";
import { gemmScratchBytes } from "../../compute/gemm.ts";
import { ATTENTION_ROWS } from "../../compute/providers/blas-kernels.ts";
import { MIN_LIBRARY_WORK } from "../../compute/providers/blas-parts.ts";
import type { SharedBackend } from "../storage.ts";
import { EXP_WORK, fanOut, type KernelCall, registerFast } from "./kernel.ts";
import { gatherRows, scatterAddRows } from "./movement.ts";

export function registerFused(): void {
  registerFast("FusedRmsNorm", rmsNorm);
  registerFast("FusedRmsNormInputGrad", rmsNormInputGrad);
  registerFast("FusedRmsNormWeightGrad", rmsNormWeightGrad);
  registerFast("FusedLayerNorm", layerNorm);
  registerFast("FusedLayerNormInputGrad", layerNormInputGrad);
  registerFast("FusedLayerNormWeightGrad", layerNormWeightGrad);
  registerFast("FusedGelu", gelu);
  registerFast("FusedGeluGrad", geluGrad);
  registerFast("FusedRope", rope);
  registerFast("FusedSwiGlu", swiGlu);
  registerFast("FusedSwiGluGrad", swiGluGrad);
  registerFast("FusedCausalAttention", attention);
  registerFast("FusedCausalAttentionGrad", attentionGrad);
  registerFast("FusedCrossEntropy", crossEntropy);
  registerFast("FusedCrossEntropyGrad", crossEntropyGrad);
  registerFast("FusedEmbedding", ({ inputs, backend }) => gatherRows(backend, inputs.table as tf.TensorInfo & { dtype: "float32" }, inputs.ids!));
  registerFast("FusedEmbeddingGrad", ({ inputs, attrs, backend }) => scatterAddRows(backend, inputs.dy!, inputs.ids!, attrs.rows as number));
}

/** Shape of the 2-D activations and the addresses of tensors, in the order asked. */
function dims(x: tf.TensorInfo | undefined): [number, number] {
  const [rows, width] = x?.shape ?? [];
  if (rows === undefined || width === undefined) throw new TypeError("a fused kernel takes [positions, features]");
  return [rows, width];
}

function addresses(backend: SharedBackend, ...tensors: readonly (tf.TensorInfo | undefined)[]): number[] {
  return tensors.map((tensor) => backend.address(tensor as tf.TensorInfo));
}

/** y and, per row, 1 / rms. */
function rmsNorm({ inputs: { x, weight }, attrs, backend }: KernelCall): tf.TensorInfo[] {
  const [rows, n] = dims(x);
  const out = [backend.output([rows, n]), backend.output([rows])];
  const [from = 0, w = 0, to = 0, inv = 0] = addresses(backend, x, weight, ...out);
  fanOut(backend.pool, "rmsNormForward", rows, 4 * n, 1, (r0, r1) => [from + r0 * n * 4, w, to + r0 * n * 4, inv + r0 * 4, r1 - r0, n, attrs.eps as number]);
  return out;
}

function rmsNormInputGrad({ inputs: { x, weight, inv, dy }, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(x);
  const dx = backend.output([rows, n]);
  const [from = 0, w = 0, scale = 0, up = 0, to = 0] = addresses(backend, x, weight, inv, dy, dx);
  fanOut(backend.pool, "rmsNormBackward", rows, 6 * n, 1, (r0, r1) => {
    const at = r0 * n * 4;
    return [from + at, w, scale + r0 * 4, up + at, to + at, r1 - r0, n];
  });
  return dx;
}

function rmsNormWeightGrad({ inputs: { x, inv, dy }, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(x);
  const dw = backend.output([n]);
  const all = addresses(backend, x, inv, dy, dw);
  fanOut(backend.pool, "rmsNormWeightGradient", n, 4 * rows, 16, (j0, j1) => [...all, rows, n, j0, j1]);
  return dw;
}

/** y and, per row, mean and 1 / deviation. */
function layerNorm({ inputs: { x, weight, bias }, attrs, backend }: KernelCall): tf.TensorInfo[] {
  const [rows, n] = dims(x);
  const out = [backend.output([rows, n]), backend.output([rows]), backend.output([rows])];
  const [from = 0, w = 0, b = 0, to = 0, mean = 0, inv = 0] = addresses(backend, x, weight, bias, ...out);
  fanOut(backend.pool, "layerNormForward", rows, 6 * n, 1, (r0, r1) => {
    const [at, row] = [r0 * n * 4, r0 * 4];
    return [from + at, w, b, to + at, mean + row, inv + row, r1 - r0, n, attrs.eps as number];
  });
  return out;
}

function layerNormInputGrad({ inputs: { x, weight, mean, inv, dy }, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(x);
  const dx = backend.output([rows, n]);
  const [from = 0, w = 0, centre = 0, scale = 0, up = 0, to = 0] = addresses(backend, x, weight, mean, inv, dy, dx);
  fanOut(backend.pool, "layerNormBackward", rows, 8 * n, 1, (r0, r1) => {
    const [at, row] = [r0 * n * 4, r0 * 4];
    return [from + at, w, centre + row, scale + row, up + at, to + at, r1 - r0, n];
  });
  return dx;
}

function layerNormWeightGrad({ inputs: { x, mean, inv, dy }, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(x);
  const dw = backend.output([n]);
  const all = addresses(backend, x, mean, inv, dy, dw);
  fanOut(backend.pool, "layerNormWeightGradient", n, 8 * rows, 16, (j0, j1) => [...all, rows, n, j0, j1]);
  return dw;
}

function gelu({ inputs: { x }, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(x);
  const out = backend.output([rows, n]);
  const all = addresses(backend, x, out);
  fanOut(backend.pool, "geluForward", rows * n, EXP_WORK, 4, (from, to) => [...all.map((address) => address + from * 4), to - from]);
  return out;
}

function geluGrad({ inputs: { x, dy }, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(x);
  const dx = backend.output([rows, n]);
  const all = addresses(backend, x, dy, dx);
  fanOut(backend.pool, "geluBackward", rows * n, 2 * EXP_WORK, 4, (from, to) => [...all.map((address) => address + from * 4), to - from]);
  return dx;
}

function rope({ inputs: { x, cos, sin }, attrs, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(x);
  const [seq, half] = dims(cos);
  const out = backend.output([rows, n]);
  const [from = 0, c = 0, s = 0, to = 0] = addresses(backend, x, cos, sin, out);
  fanOut(backend.pool, "ropeRows", rows, 2 * n, 1, (r0, r1) => [from, c, s, to, r0, r1, seq, n / (2 * half), half, attrs.inverse === true ? -1 : 1]);
  return out;
}

function swiGlu({ inputs: { gate, up }, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(gate);
  const out = backend.output([rows, n]);
  const all = addresses(backend, gate, up, out);
  fanOut(backend.pool, "swiGluForward", rows * n, EXP_WORK, 4, (from, to) => [...all.map((address) => address + from * 4), to - from]);
  return out;
}

/** dGate and dUp */
function swiGluGrad({ inputs: { gate, up, dy }, backend }: KernelCall): tf.TensorInfo[] {
  const [rows, n] = dims(gate);
  const out = [backend.output([rows, n]), backend.output([rows, n])];
  const all = addresses(backend, gate, up, dy, ...out);
  fanOut(backend.pool, "swiGluBackward", rows * n, 2 * EXP_WORK, 4, (from, to) => [...all.map((address) => address + from * 4), to - from]);
  return out;
}

export interface AttentionShape {
  readonly batch: number;
  readonly seq: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** A query sees this many keys up to its own; absent: all. */
  readonly window?: number;
}

/** The mixed values and the probabilities [batch, heads, seq, seq]. */
function attention({ inputs: { q, k, v }, attrs, backend }: KernelCall): tf.TensorInfo[] {
  const shape = attrs as unknown as AttentionShape;
  const { batch, seq, heads, headDim } = shape;
  const out = [backend.output([batch * seq, heads * headDim]), backend.output([batch, heads, seq, seq])];
  const all = addresses(backend, q, k, v, ...out);
  const window = Math.min(shape.window ?? seq, seq);
  byHead(
    backend,
    byLibrary(backend, shape) ? "blasAttentionForward" : "attentionForward",
    shape,
    gemmScratchBytes(backend.pool, Math.max(seq, headDim)),
    (b, g, scratch) => [...headArguments(shape, b, g), window, 1 / Math.sqrt(headDim), ...all, scratch],
  );
  return out;
}

/** dq, dk and dv */
function attentionGrad({ inputs: { q, k, v, probabilities, dy }, attrs, backend }: KernelCall): tf.TensorInfo[] {
  const shape = attrs as unknown as AttentionShape;
  const { seq, headDim } = shape;
  const out = [q, k, v].map((tensor) => backend.output(tensor!.shape));
  const all = addresses(backend, q, k, v, probabilities, dy, ...out);
  const scratchBytes = gemmScratchBytes(backend.pool, Math.max(seq, headDim)) + backend.pool.context.kernel("attentionScratchBytes")(seq);
  byHead(backend, byLibrary(backend, shape) ? "blasAttentionBackward" : "attentionBackward", shape, scratchBytes, (b, g, scratch) => [
    ...headArguments(shape, b, g),
    1 / Math.sqrt(headDim),
    ...all,
    scratch,
  ]);
  return out;
}

/** Whether products of heads are large enough for the library that the threads may have. */
const byLibrary = ({ pool }: SharedBackend, { seq, headDim }: AttentionShape): boolean =>
  pool.blasOfThreads !== undefined && Math.min(seq, ATTENTION_ROWS) * seq * headDim >= MIN_LIBRARY_WORK;

const headArguments = ({ seq, heads, kvHeads, headDim }: AttentionShape, batch: number, kvHead: number): number[] => [
  batch,
  kvHead,
  seq,
  seq,
  heads,
  kvHeads,
  headDim,
];

/** One part for each batch entry and key/value head, each with scratch of its own; in rounds, so that scratch stays small. */
function byHead(
  backend: SharedBackend,
  kernel: string,
  { batch, kvHeads }: AttentionShape,
  scratchBytes: number,
  args: (batch: number, kvHead: number, scratch: number) => number[],
): void {
  const { pool } = backend;
  const round = Math.min(batch * kvHeads, pool.threads === 1 ? 1 : 16 * pool.threads);
  const scratch = pool.arena.alloc(round * scratchBytes);
  try {
    for (let start = 0; start < batch * kvHeads; start += round) {
      const count = Math.min(round, batch * kvHeads - start);
      pool.runSync(
        kernel,
        Array.from({ length: count }, (_, i) => args(Math.floor((start + i) / kvHeads), (start + i) % kvHeads, scratch + i * scratchBytes)),
      );
    }
  } finally {
    pool.arena.free(scratch);
  }
}

/** Per row, the loss and log-sum-exp. */
function crossEntropy({ inputs: { logits, targets }, backend }: KernelCall): tf.TensorInfo[] {
  const [rows, n] = dims(logits);
  const out = [backend.output([rows]), backend.output([rows])];
  const [x = 0, t = 0, loss = 0, lse = 0] = addresses(backend, logits, targets, ...out);
  fanOut(backend.pool, "crossEntropyForward", rows, EXP_WORK * n, 1, (r0, r1) => [x + r0 * n * 4, t + r0 * 4, loss + r0 * 4, lse + r0 * 4, r1 - r0, n]);
  return out;
}

function crossEntropyGrad({ inputs: { logits, targets, logSumExp, dy }, backend }: KernelCall): tf.TensorInfo {
  const [rows, n] = dims(logits);
  const out = backend.output([rows, n]);
  const [x = 0, t = 0, lse = 0, d = 0, dx = 0] = addresses(backend, logits, targets, logSumExp, dy, out);
  fanOut(backend.pool, "crossEntropyBackward", rows, EXP_WORK * n, 1, (r0, r1) => {
    const [row, wide] = [r0 * 4, r0 * n * 4];
    return [x + wide, t + row, lse + row, d + row, dx + wide, r1 - r0, n];
  });
  return out;
}
