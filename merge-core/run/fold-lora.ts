// Adds adapters to single tensors on their way into a merge: W + scale B A in float32, never rounded to a storage dtype.
import type { FamilyPatch, LoraPatch, TensorSpan } from "../checkpoints/checkpoint.ts";
import { add, input, scale } from "../compute/expr.ts";
import { readFully } from "../compute/files.ts";
import { gemm } from "../compute/gemm.ts";
import { bytesOf } from "../compute/instance.ts";
import type { ComputePool } from "../compute/pool.ts";
import { openTensorEngine } from "../compute/tensor-engine.ts";
import type { TensorPlace } from "../compute/tensor-inputs.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { widenToFloat32 } from "../formats/dtype-codecs.ts";
import { elementCount, isFloat } from "../formats/dtypes.ts";
import type { InputRef } from "../plan/plan.ts";
import { foldFamily } from "./fold-family.ts";
import { buffersOf } from "./shared-buffers.ts";

/** A tensor, and what is added to it. */
type FoldedRef = Pick<InputRef, "name" | "shape" | "dtype" | "file" | "offset" | "lora">;

export interface FoldContext {
  readonly pool: ComputePool;
  readonly memoryBytes: number;
  readonly signal: AbortSignal | undefined;
}

/** Bytes of the product computed at a time in the shared memory. */
const BLOCK_BYTES = 8 * 2 ** 20;

/** The inputs as the method reads them: files as they are, and adapted tensors in memory, until the pool's buffers are released. */
export async function foldInputs(inputs: readonly FoldedRef[], context: FoldContext): Promise<TensorPlace[]> {
  const places: TensorPlace[] = [];
  for (const ref of inputs) places.push(ref.lora === undefined ? ref : { dtype: "F32", bytes: await foldAny(ref, ref.lora, context) });
  return places;
}

const foldAny = (ref: FoldedRef, patch: LoraPatch | FamilyPatch, context: FoldContext): Promise<Uint8Array> =>
  "family" in patch ? foldFamily(ref, patch, context.pool, context.signal) : foldInput(ref, patch, context);

async function foldInput(ref: FoldedRef, lora: LoraPatch, context: FoldContext): Promise<Uint8Array> {
  // The product, and then, element by element in its place, the sum.
  const bytes = buffersOf(context.pool).take(elementCount(ref.shape) * 4);
  await multiply(bytes, ref.shape, lora, context);
  const output = { dtype: "F32" as const, bytes };
  const task = { name: ref.name, shape: ref.shape, seed: 0, inputs: [ref, output], output, memoryBytes: context.memoryBytes, signal: context.signal };
  const engine = openTensorEngine(context.pool, task);
  try {
    await engine.write(add(input(0), scale(input(1), lora.scale)));
  } finally {
    engine.close();
  }
  if (lora.magnitude !== undefined)
    setNorms(new Float32Array(bytes.buffer, 0, bytes.byteLength / 4), ref.shape, lora.transposed, readValues(lora.magnitude, context.pool));
  return bytes;
}

/** B A, or its transpose, of the leading rows that make up `shape`, into `out`; in blocks of rows. */
async function multiply(out: Uint8Array, shape: readonly number[], { a, b, transposed }: LoraPatch, { pool, signal }: FoldContext): Promise<void> {
  const [rows, columns] = sidesOf(shape);
  const [rank = 0, inputs = 0] = a.shape;
  const blockRows = Math.max(1, Math.floor(BLOCK_BYTES / 4 / Math.max(1, columns)));
  const addresses = [readValues(a, pool), readValues(b, pool)].map((values) => place(values, pool));
  const [addressA = 0, addressB = 0] = addresses;
  const block = pool.arena.alloc(Math.min(blockRows, rows) * columns * 4);
  try {
    for (let first = 0; first < rows; first += blockRows) {
      throwIfCancelled(signal);
      const count = Math.min(blockRows, rows - first);
      const left = transposed
        ? { address: addressA + first * 4, rowStride: 1, columnStride: inputs }
        : { address: addressB + first * rank * 4, rowStride: rank, columnStride: 1 };
      const right = transposed ? { address: addressB, rowStride: 1, columnStride: rank } : { address: addressA, rowStride: inputs, columnStride: 1 };
      gemm(pool, { rows: count, columns, depth: rank, a: left, b: right, c: { address: block, rowStride: columns, columnStride: 1 } });
      const bytes = count * columns * 4;
      out.set(bytesOf(pool.memory, block + bytes).subarray(block, block + bytes), first * columns * 4);
      // Products block the thread; the event loop gets its turn between them.
      await new Promise((resume) => setImmediate(resume));
    }
  } finally {
    for (const address of [...addresses, block]) pool.arena.free(address);
  }
}

/** Rows, and what is in one: a convolution's kernels are rows of all their places. */
const sidesOf = ([rows = 0, ...rest]: readonly number[]): readonly [number, number] => [rows, elementCount(rest)];

/** Copies values into the shared memory. */
function place(values: Float32Array, { arena, memory }: ComputePool): number {
  const address = arena.alloc(values.byteLength);
  bytesOf(memory, address + values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), address);
  return address;
}

/** A small tensor as float32. */
function readValues({ file, offset, byteLength, dtype, name }: TensorSpan, { files }: ComputePool): Float32Array {
  if (!isFloat(dtype)) throw new TypeError(`factor ${name} is not floating point`);
  const bytes = new Uint8Array(byteLength);
  try {
    readFully(files.acquire(file, false), bytes, offset, file);
  } finally {
    files.release(file, false);
  }
  return widenToFloat32(dtype, bytes);
}

/** DoRA: brings each output's weights, a row or where transposed a column, to the norm it was trained to have. */
function setNorms(values: Float32Array, shape: readonly number[], transposed: boolean, magnitude: Float32Array): void {
  const [, columns] = sidesOf(shape);
  const outputOf = (i: number) => (transposed ? i % columns : Math.floor(i / columns));
  const squares = new Float64Array(magnitude.length);
  for (let i = 0; i < values.length; i++) squares[outputOf(i)]! += (values[i] ?? 0) ** 2;
  const factors = Float32Array.from(magnitude, (m, o) => m / Math.sqrt(squares[o] ?? 0));
  for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * (factors[outputOf(i)] ?? 0);
}
