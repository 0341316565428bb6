// Tensors with their axes in another order.
import type { Axes, Segment } from "./symmetries.ts";

/** Position i of the new order holds what was at `order[i]`. */
export type Orders = ReadonlyMap<string, Int32Array>;

export const identity = (size: number): Int32Array => Int32Array.from({ length: size }, (_, i) => i);
export const isIdentity = (order: Int32Array): boolean => order.every((from, i) => from === i);

/** The order of a whole axis; undefined if it stays. */
export function axisOrder(segments: readonly Segment[], orders: Orders): Int32Array | undefined {
  const total = segments.reduce((sum, { size }) => sum + size, 0);
  const order = new Int32Array(total);
  let first = 0;
  for (const { space, size } of segments) {
    const own = space === undefined ? undefined : orders.get(space);
    for (let i = 0; i < size; i++) order[first + i] = first + (own?.[i] ?? i);
    first += size;
  }
  return isIdentity(order) ? undefined : order;
}

/** Elements of `width` bytes, [rows] or [rows, columns], picked by row and column. */
export function permuteBytes(bytes: Uint8Array, shape: readonly number[], width: number, axes: Axes, orders: Orders): Uint8Array {
  const [rowOrder, columnOrder] = axes.map((axis) => axisOrder(axis, orders));
  if (rowOrder === undefined && columnOrder === undefined) return bytes;
  const rows = shape[0] ?? 0;
  const rowBytes = rows === 0 ? 0 : bytes.length / rows;
  const result = new Uint8Array(bytes.length);
  for (let i = 0; i < rows; i++) {
    const from = (rowOrder?.[i] ?? i) * rowBytes;
    if (columnOrder === undefined) result.set(bytes.subarray(from, from + rowBytes), i * rowBytes);
    else for (let j = 0; j < columnOrder.length; j++) copyElement(bytes, from + (columnOrder[j] as number) * width, result, i * rowBytes + j * width, width);
  }
  return result;
}

function copyElement(source: Uint8Array, from: number, target: Uint8Array, to: number, width: number): void {
  for (let k = 0; k < width; k++) target[to + k] = source[from + k] as number;
}
