// tfjs kernels that move data without computing: transpose, slice, concatenate, gather and their relatives. 32-bit types.
import * as tf from "@tensorflow/tfjs-core";
import { inputError } from "../../diagnostics.ts";
import type { SharedBackend } from "../storage.ts";
import { allFloat, fanOut, type KernelCall, registerFast } from "./kernel.ts";
import { type Axis, eachOuter, joinAxes, padAxes, sizeOf } from "./strides.ts";

export function registerMovement(): void {
  registerFast("Transpose", transpose);
  registerFast("Slice", slice);
  registerFast("Tile", tile);
  registerFast("Concat", ({ inputs, attrs, backend }) =>
    concat(backend, Object.values(inputs), tf.util.parseAxisParam(attrs.axis as number, Object.values(inputs)[0]!.shape)[0]!),
  );
  registerFast("Pack", pack);
  registerFast("SplitV", splitV);
  registerFast("Unpack", unpack);
  registerFast("GatherV2", gather);
  registerFast("UnsortedSegmentSum", unsortedSegmentSum);
  registerFast("OneHot", oneHot);
}

type Wide = "float32" | "int32";
const isWide = (tensor: tf.TensorInfo | undefined): tensor is tf.TensorInfo & { dtype: Wide } => tensor?.dtype === "float32" || tensor?.dtype === "int32";
const product = (shape: readonly number[]): number => shape.reduce((size, n) => size * n, 1);

/** Writes the elements that `axes` visit, from `address` on, in order to `out`. */
function copyStrided(backend: SharedBackend, address: number, out: number, axes: readonly Axis[]): void {
  if (sizeOf(axes) === 0) return;
  eachOuter(joinAxes(axes), 4, (inner, [at = 0], outAt) => {
    const [outermost, ...rest] = inner as [Axis, ...Axis[]];
    const restSize = sizeOf(rest);
    const step = outermost.strides[0] ?? 0;
    fanOut(backend.pool, "stridedCopy", outermost.size, restSize, 4, (from, to) => {
      const padded = padAxes([{ size: to - from, strides: outermost.strides }, ...rest], 4);
      const start = [address + (at + from * step) * 4, out + (outAt + from * restSize) * 4];
      return [...start, ...padded.map((axis) => axis.size), ...padded.map((axis) => axis.strides[0] ?? 0)];
    });
  });
}

const stridesOf = (shape: readonly number[]): number[] => shape.map((_, i) => product(shape.slice(i + 1)));

function viewed(backend: SharedBackend, x: tf.TensorInfo & { dtype: Wide }, shape: number[], axes: readonly Axis[], offset = 0): tf.TensorInfo {
  const out = backend.output(shape, x.dtype);
  copyStrided(backend, backend.address(x) + offset * 4, backend.address(out), axes);
  return out;
}

function transpose({ inputs: { x }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (!isWide(x)) return undefined;
  const perm = attrs.perm as number[];
  const strides = stridesOf(x.shape);
  const shape = perm.map((from) => x.shape[from] as number);
  return viewed(
    backend,
    x,
    shape,
    perm.map((from, i) => ({ size: shape[i] as number, strides: [strides[from] as number] })),
  );
}

function slice({ inputs: { x }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (!isWide(x)) return undefined;
  const [begin, size] = tf.slice_util.parseSliceParams(x as unknown as tf.Tensor, attrs.begin as number[], attrs.size as number[]) as [number[], number[]];
  tf.slice_util.assertParamsValid(x as unknown as tf.Tensor, begin, size);
  return cutOut(backend, x, begin, size);
}

function cutOut(backend: SharedBackend, x: tf.TensorInfo & { dtype: Wide }, begin: readonly number[], size: number[]): tf.TensorInfo {
  const strides = stridesOf(x.shape);
  const offset = begin.reduce((sum, start, i) => sum + start * (strides[i] as number), 0);
  return viewed(
    backend,
    x,
    size,
    size.map((n, i) => ({ size: n, strides: [strides[i] as number] })),
    offset,
  );
}

function tile({ inputs: { x }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (!isWide(x)) return undefined;
  const reps = attrs.reps as number[];
  const strides = stridesOf(x.shape);
  const axes = x.shape.flatMap((size, i): Axis[] => [
    { size: reps[i] as number, strides: [0] },
    { size, strides: [strides[i] as number] },
  ]);
  return viewed(
    backend,
    x,
    x.shape.map((size, i) => size * (reps[i] as number)),
    axes,
  );
}

function concat(backend: SharedBackend, tensors: readonly tf.TensorInfo[], axis: number): tf.TensorInfo | undefined {
  const present = tensors.filter((tensor) => product(tensor.shape) > 0);
  const [first] = present;
  if (first === undefined || !present.every(isWide) || !present.every((tensor) => tensor.dtype === first.dtype)) return undefined;
  const shape = tf.backend_util.computeOutShape(
    present.map((tensor) => tensor.shape),
    axis,
  );
  const out = backend.output(shape, first.dtype as Wide);
  const rows = product(shape.slice(0, axis));
  const pitch = (product(shape) / rows) * 4;
  let at = backend.address(out);
  for (const tensor of present) {
    const bytes = (product(tensor.shape) / rows) * 4;
    copyRows(backend, backend.address(tensor), bytes, at, pitch, rows, bytes);
    at += bytes;
  }
  return out;
}

function copyRows(backend: SharedBackend, from: number, fromPitch: number, to: number, toPitch: number, rows: number, bytes: number): void {
  fanOut(backend.pool, "copyRows", rows, bytes / 4, 1, (r0, r1) => [from + r0 * fromPitch, fromPitch, to + r0 * toPitch, toPitch, r1 - r0, bytes]);
}

function pack({ inputs, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  const tensors = Object.values(inputs);
  const axis = attrs.axis as number;
  const expanded = tensors.map((tensor) => ({ ...tensor, shape: tensor.shape.toSpliced(axis, 0, 1) }));
  return concat(backend, expanded, axis);
}

function splitV({ inputs: { x }, attrs, backend }: KernelCall): tf.TensorInfo[] | undefined {
  if (!isWide(x)) return undefined;
  const axis = tf.util.parseAxisParam(attrs.axis as number, x.shape)[0] as number;
  const sizes = tf.backend_util.prepareSplitSize(x as unknown as tf.Tensor, attrs.numOrSizeSplits as number | number[], axis);
  let start = 0;
  return sizes.map((size) => {
    const begin = x.shape.map((_, i) => (i === axis ? start : 0));
    start += size;
    return cutOut(backend, x, begin, x.shape.with(axis, size));
  });
}

function unpack({ inputs: { value }, attrs, backend }: KernelCall): tf.TensorInfo[] | undefined {
  if (!isWide(value)) return undefined;
  const rank = value.shape.length;
  const axis = ((attrs.axis as number) + rank) % rank;
  return Array.from({ length: value.shape[axis] as number }, (_, index) => {
    const begin = value.shape.map((_, i) => (i === axis ? index : 0));
    return { ...cutOut(backend, value, begin, value.shape.with(axis, 1)), shape: value.shape.toSpliced(axis, 1) };
  });
}

function gather({ inputs: { x, indices }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (!isWide(x) || indices?.dtype !== "int32" || attrs.batchDims !== 0) return undefined;
  if (tf.util.parseAxisParam(attrs.axis as number, x.shape)[0] !== 0) return undefined;
  return gatherRows(backend, x, indices);
}

/** Rows of x by index. @throws WeightsmithError `index-out-of-range` */
export function gatherRows(backend: SharedBackend, x: tf.TensorInfo & { dtype: Wide }, indices: tf.TensorInfo): tf.TensorInfo {
  const [limit = 0, ...rest] = x.shape;
  const width = product(rest);
  checkIndices(backend.view(indices), limit);
  const out = backend.output([...indices.shape, ...rest], x.dtype);
  const frozen = backend.frozenData(x);
  if (frozen !== undefined) {
    const first = backend.address(out);
    // In order: a row's end spills into the next one's beginning.
    for (const [row, index] of backend.view(indices).entries()) frozen.widenRow(first + row * width * 4, index, width);
    return out;
  }
  const [from, index, to] = [x, indices, out].map((tensor) => backend.address(tensor)) as [number, number, number];
  fanOut(backend.pool, "gatherRows", product(indices.shape), width, 1, (r0, r1) => [from, index + r0 * 4, to + r0 * width * 4, r1 - r0, width, limit]);
  return out;
}

function checkIndices(indices: ArrayLike<number>, limit: number): void {
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i] as number;
    if (index >= 0 && index < limit) continue;
    throw inputError("index-out-of-range", "an index points outside the tensor it selects from", {
      found: `${index} at position ${i}`,
      expected: `0 to ${limit - 1}`,
      remedy: "check that the tokenizer and the model have the same vocabulary",
    });
  }
}

function unsortedSegmentSum({ inputs: { x, segmentIds }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  if (x === undefined || !allFloat(x) || segmentIds?.dtype !== "int32" || segmentIds.shape.length !== 1) return undefined;
  return scatterAddRows(backend, x, segmentIds, attrs.numSegments as number);
}

/** [limit, ...] with row i of x added to row indices[i]; each thread owns a range of columns, so the order of sums is fixed. */
export function scatterAddRows(backend: SharedBackend, x: tf.TensorInfo, indices: tf.TensorInfo, limit: number): tf.TensorInfo {
  const count = product(indices.shape);
  const rest = x.shape.slice(indices.shape.length);
  const width = product(rest);
  const out = backend.output([limit, ...rest]);
  const [from, index, to] = [x, indices, out].map((tensor) => backend.address(tensor)) as [number, number, number];
  fanOut(backend.pool, "scatterAddRows", width, count + limit, 16, (j0, j1) => [from, index, to, count, width, limit, j0, j1]);
  return out;
}

function oneHot({ inputs: { indices }, attrs, backend }: KernelCall): tf.TensorInfo | undefined {
  const { depth, onValue, offValue, dtype } = attrs as { depth: number; onValue: number; offValue: number; dtype: tf.DataType };
  if (indices?.dtype !== "int32" || (dtype !== "float32" && dtype !== "int32")) return undefined;
  const out = backend.output([...indices.shape, depth], dtype);
  const [index, values] = [backend.view(indices), backend.view(out)];
  values.fill(offValue);
  for (let i = 0; i < index.length; i++) {
    const hot = index[i] as number;
    if (hot >= 0 && hot < depth) values[i * depth + hot] = onValue;
  }
  return out;
}
