// Inner products of the weights of two models along the axes that are to be matched.
import { setImmediate } from "node:timers/promises";
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import type { TensorReader } from "../checkpoints/tensor-reader.ts";
import type { Matrix, MatrixSpace } from "../compute/linalg/matrix.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { isFloat } from "../formats/dtypes.ts";
import { axisOrder, type Orders } from "./permute.ts";
import type { Segment, Symmetries } from "./symmetries.ts";

export interface ProductOptions {
  readonly space: MatrixSpace;
  readonly signal?: AbortSignal | undefined;
}

/** What a group found; `scale` is the size of the numbers that the gain is a difference of. */
export interface Found {
  readonly orders: readonly (readonly [string, Int32Array])[];
  readonly before: number;
  readonly after: number;
  readonly scale: number;
}

/** Inner products of A's rows with B's along one space, over all tensors that it permutes, other axes of B in their present order. */
export class Products {
  /** Product of the norms of all that was multiplied. */
  scale = 0;
  readonly #a: Checkpoint;
  readonly #b: Checkpoint;
  readonly #axes: Symmetries["axes"];
  readonly #orders: Orders;
  readonly #reader: TensorReader;
  readonly #options: ProductOptions;

  constructor(a: Checkpoint, b: Checkpoint, axes: Symmetries["axes"], orders: Orders, reader: TensorReader, options: ProductOptions) {
    this.#a = a;
    this.#b = b;
    this.#axes = axes;
    this.#orders = orders;
    this.#reader = reader;
    this.#options = options;
  }

  /** [size, size]: row of A, row of B. */
  async of(space: string, size: number): Promise<Float64Array> {
    const { space: memory, signal } = this.#options;
    const sum = new Float64Array(size * size);
    const part = memory.zeros(size, size);
    for (const [name, axes] of this.#axes) {
      for (const [dimension, segments] of axes.entries()) {
        const at = segmentsOf(segments, space);
        if (at.length === 0) continue;
        throwIfCancelled(signal);
        await setImmediate();
        const [x, y] = [await this.#read(this.#a, name), await this.#read(this.#b, name)];
        const other = axes.length === 2 ? axisOrder(axes[1 - dimension] ?? [], this.#orders) : undefined;
        const shape = axes.map((axis) => axis.reduce((total, segment) => total + segment.size, 0));
        for (const first of at) {
          const [left, right] = [rowsAlong(memory, x, shape, dimension, first, size), rowsAlong(memory, y, shape, dimension, first, size, other)];
          memory.product(left, right, { transposeB: true, into: part });
          for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (part.data[i] as number);
          this.scale += normOf(left, name, this.#a) * normOf(right, name, this.#b);
          memory.free(left, right);
        }
      }
    }
    memory.free(part);
    return sum;
  }

  async #read(model: Checkpoint, name: string): Promise<Float32Array | Float64Array> {
    const entry = model.tensors.get(name);
    if (entry !== undefined && isFloat(entry.dtype) && entry.lora === undefined) return this.#reader.read(entry);
    throw inputError("align-tensor-unsupported", `tensor ${name} cannot be computed with as it is stored`, {
      file: model.path,
      found: entry?.lora === undefined ? (entry?.dtype ?? "nothing") : "an adapter on it",
      expected: "a float dtype",
    });
  }
}

/** Where on an axis the segments of a space begin. */
function segmentsOf(segments: readonly Segment[], space: string): number[] {
  let first = 0;
  const found: number[] = [];
  for (const segment of segments) {
    if (segment.space === space) found.push(first);
    first += segment.size;
  }
  return found;
}

/** Part of one dimension as rows, the other dimension as columns, in `other`'s order. */
function rowsAlong(
  memory: MatrixSpace,
  values: Float32Array | Float64Array,
  shape: readonly number[],
  dimension: number,
  first: number,
  size: number,
  other?: Int32Array,
): Matrix {
  const columns = shape.length === 1 ? 1 : (shape[1 - dimension] as number);
  const [rowStep, columnStep] = dimension === 0 ? [shape[1] ?? 1, 1] : [1, shape[1] ?? 1];
  const matrix = memory.zeros(size, columns);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < columns; j++) matrix.data[i * columns + j] = values[(first + i) * rowStep + (other?.[j] ?? j) * columnStep] as number;
  return matrix;
}

function normOf({ data }: Matrix, name: string, model: Checkpoint): number {
  let sum = 0;
  for (const x of data) sum += x * x;
  if (Number.isFinite(sum)) return Math.sqrt(sum);
  throw inputError("non-finite", `${name} holds NaN or infinite values`, { file: model.path });
}
