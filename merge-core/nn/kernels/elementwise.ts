// Element-wise tfjs kernels on the WASM kernels of compute/kernels/tensor.
import * as tf from "@tensorflow/tfjs-core";
import type { SharedBackend } from "../storage.ts";
import { allFloat, EXP_WORK, fanOut, type KernelCall, registerFast, reshaped } from "./kernel.ts";
import { type Axis, broadcastStrides, eachOuter, joinAxes, padAxes, sizeOf } from "./strides.ts";

// Numbers of the operations in the kernels `binary` and `unary`.
const BINARY = { Add: 0, Sub: 1, Multiply: 2, RealDiv: 3, Maximum: 4, Minimum: 5, SquaredDifference: 6 } as const;
const UNARY = { Square: 0, Sqrt: 1, Rsqrt: 2, Neg: 3, Sigmoid: 4, Exp: 5, Log: 6, Tanh: 7, Relu: 8, Abs: 9 } as const;

export function registerElementwise(): void {
  for (const [name, code] of Object.entries(BINARY)) registerFast(name, (call) => binary(call, code));
  for (const [name, code] of Object.entries(UNARY)) registerFast(name, (call) => unary(call, code));
  registerFast("AddN", addN);
  registerFast("Select", select);
  registerFast("Cast", cast);
  registerFast("Fill", ({ attrs, backend }) => filled(backend, attrs.shape as number[], attrs.dtype as tf.DataType | undefined, attrs.value as number));
  registerFast("ZerosLike", ({ inputs: { x }, backend }) => filled(backend, x!.shape, x!.dtype, 0));
  registerFast("OnesLike", ({ inputs: { x }, backend }) => filled(backend, x!.shape, x!.dtype, 1));
}

function binary({ inputs: { a, b }, backend }: KernelCall, code: number): tf.TensorInfo | undefined {
  if (a === undefined || b === undefined || !allFloat(a, b)) return undefined;
  const shape = tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
  const out = backend.output(shape);
  const [fromA, fromB, to] = [backend.address(a), backend.address(b), backend.address(out)];
  if (sizeOfShape(shape) === 0) return out;
  eachOuter(joinAxes(pairAxes(a.shape, b.shape, shape)), 3, (axes, [atA = 0, atB = 0], at) => {
    grid(backend, code, axes, fromA + atA * 4, fromB + atB * 4, to + at * 4);
  });
  return out;
}

function pairAxes(a: readonly number[], b: readonly number[], shape: readonly number[]): Axis[] {
  const stridesA = broadcastStrides(a, shape.length);
  const stridesB = broadcastStrides(b, shape.length);
  return shape.map((size, i) => ({ size, strides: [stridesA[i] as number, stridesB[i] as number] }));
}

/** At most three joined axes in one kernel call for each thread's range of the outermost. */
function grid(backend: SharedBackend, code: number, axes: readonly Axis[], a: number, b: number, out: number): void {
  const [outermost, ...inner] = axes as [Axis, ...Axis[]];
  const innerSize = sizeOf(inner);
  const [stepA = 0, stepB = 0] = outermost.strides;
  fanOut(backend.pool, "binary", outermost.size, innerSize, 4, (from, to) => {
    const padded = padAxes([{ size: to - from, strides: outermost.strides }, ...inner], 3);
    const strides = (operand: number) => padded.map((axis) => axis.strides[operand] ?? 0);
    const [sizes, sa, sb] = [padded.map((axis) => axis.size), strides(0), strides(1)];
    return [code, a + from * stepA * 4, b + from * stepB * 4, out + from * innerSize * 4, ...sizes, ...sa, ...sb];
  });
}

function unary({ inputs: { x }, backend }: KernelCall, code: number): tf.TensorInfo | undefined {
  if (x === undefined || !allFloat(x)) return undefined;
  const out = backend.output(x.shape);
  const [from, to] = [backend.address(x), backend.address(out)];
  fanOut(backend.pool, "unary", sizeOfShape(x.shape), code < UNARY.Sigmoid ? 1 : EXP_WORK, 4, (start, end) => [
    code,
    from + start * 4,
    to + start * 4,
    end - start,
  ]);
  return out;
}

function addN({ inputs, backend }: KernelCall): tf.TensorInfo | undefined {
  const [first, second, ...rest] = Object.values(inputs);
  if (first === undefined || second === undefined || !allFloat(first, second, ...rest)) return undefined;
  const add = (a: tf.TensorInfo, b: tf.TensorInfo) => binary({ inputs: { a, b }, attrs: {}, backend }, BINARY.Add) as tf.TensorInfo;
  return rest.reduce(
    (sum, next) => {
      const longer = add(sum, next);
      backend.disposeData(sum.dataId);
      return longer;
    },
    add(first, second),
  );
}

function select({ inputs: { condition, t, e }, backend }: KernelCall): tf.TensorInfo | undefined {
  if (condition === undefined || t === undefined || e === undefined || !allFloat(t, e)) return undefined;
  const size = sizeOfShape(t.shape);
  if (condition.dtype !== "bool" || sizeOfShape(condition.shape) !== size || sizeOfShape(e.shape) !== size) return undefined;
  const out = backend.output(t.shape);
  const [c, a, b, to] = [condition, t, e, out].map((tensor) => backend.address(tensor)) as [number, number, number, number];
  fanOut(backend.pool, "selectWhere", size, 1, 4, (start, end) => [c + start, a + start * 4, b + start * 4, to + start * 4, end - start]);
  return out;
}

const CASTS: Readonly<Record<string, { readonly kernel: string; readonly width: number }>> = {
  "int32 float32": { kernel: "intToFloat", width: 4 },
  "float32 int32": { kernel: "floatToInt", width: 4 },
  "bool float32": { kernel: "boolToFloat", width: 1 },
};

function cast({ inputs: { x }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (x === undefined) return undefined;
  if (attrs.dtype === x.dtype && x.dtype !== "string" && x.dtype !== "complex64") return reshaped(backend, x, x.shape);
  const entry = CASTS[`${x.dtype} ${String(attrs.dtype)}`];
  if (entry === undefined) return undefined;
  const out = backend.output(x.shape, attrs.dtype as "float32" | "int32");
  const [from, to] = [backend.address(x), backend.address(out)];
  fanOut(backend.pool, entry.kernel, sizeOfShape(x.shape), 1, 4, (start, end) => [from + start * entry.width, to + start * 4, end - start]);
  return out;
}

function filled(backend: SharedBackend, shape: number[], dtype: tf.DataType = "float32", value: number): tf.TensorInfo | undefined {
  if ((dtype !== "float32" && dtype !== "int32") || typeof value !== "number") return undefined;
  const out = backend.output(shape, dtype);
  const pattern = new Int32Array(dtype === "float32" ? Float32Array.of(value).buffer : Int32Array.of(value).buffer)[0] as number;
  const to = backend.address(out);
  fanOut(backend.pool, "fill32", sizeOfShape(shape), 1, 4, (start, end) => [to + start * 4, pattern, end - start]);
  return out;
}

const sizeOfShape = (shape: readonly number[]): number => tf.util.sizeFromShape(shape as number[]);
