// Tensor data of the backend "weightsmith": blocks of the shared WASM memory, freed when tfjs disposes the last tensor on them.
import { MathBackendCPU } from "@tensorflow/tfjs-backend-cpu";
import * as tf from "@tensorflow/tfjs-core";
import type { ComputePool } from "../compute/pool.ts";
import { formatDiagnostic, inputError, WeightsmithError } from "../diagnostics.ts";
import { DeviceBackend } from "./device/backend.ts";
import { FrozenData, type HalfDType, type Numeric, type NumericArray, SharedData } from "./shared-data.ts";

export const BACKEND_NAME = "weightsmith";

export class SharedBackend extends MathBackendCPU {
  readonly pool: ComputePool;
  /** Blocks that hold frozen weights as float32 until the kernel that runs is done. */
  readonly #widened = new Map<FrozenData, number>();

  constructor(pool: ComputePool) {
    super();
    this.pool = pool;
  }

  override write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): object {
    if (!isNumeric(dtype) || values === undefined || values === null) return super.write(values, shape, dtype);
    const dataId = {};
    this.#place(dataId, values as NumericArray, dtype, 1);
    return dataId;
  }

  override move(dataId: object, values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType, refCount: number): void {
    if (isNumeric(dtype)) this.#place(dataId, values as NumericArray, dtype, refCount);
    else super.move(dataId, values, shape, dtype, refCount);
  }

  #place(dataId: object, values: NumericArray, dtype: Numeric, refCount: number): void {
    const data = this.#allocate([values.length], dtype);
    data.refCount = refCount;
    data.values.set(values);
    this.data.set(dataId, data);
  }

  #allocate(shape: readonly number[], dtype: Numeric): SharedData {
    const size = tf.util.sizeFromShape(shape as number[]);
    return new SharedData(this.pool.memory, this.#block(shape, size * (dtype === "bool" ? 1 : 4)), size, dtype);
  }

  #block(shape: readonly number[], bytes: number): number {
    try {
      return this.pool.arena.alloc(bytes);
    } catch (cause) {
      throw cause instanceof WeightsmithError ? noRoom(shape, bytes, this.pool.arena.usedBytes, cause) : cause;
    }
  }

  #widen(data: FrozenData, shape: readonly number[]): number {
    const address = this.#widened.get(data) ?? this.#block(shape, data.size * 4);
    if (!this.#widened.has(data)) data.widenInto(address);
    this.#widened.set(data, address);
    return address;
  }

  /** Gives back what was widened for a kernel. */
  afterKernel(): void {
    for (const address of this.#widened.values()) this.pool.arena.free(address);
    this.#widened.clear();
  }

  /** A new tensor whose content the caller writes at once. @throws WeightsmithError `out-of-memory` */
  output(shape: number[], dtype: Numeric = "float32"): tf.TensorInfo {
    const dataId = {};
    this.data.set(dataId, this.#allocate(shape, dtype));
    return { dataId, shape, dtype };
  }

  /** A float32 tensor that nothing writes to, kept in the 16 bits that its values need. */
  frozen(codes: Uint8Array, shape: number[], dtype: HalfDType): tf.Tensor {
    const size = tf.util.sizeFromShape(shape);
    const dataId = {};
    this.data.set(dataId, new FrozenData(this.pool, this.#block(shape, size * 2), size, dtype, codes));
    return tf.engine().makeTensorFromTensorInfo({ dataId, shape, dtype: "float32" }, this);
  }

  /** The tensor's data in 16 bits, if that is how it is kept. */
  frozenData(tensor: tf.TensorInfo): FrozenData | undefined {
    const data: unknown = this.data.get(tensor.dataId);
    return data instanceof FrozenData ? data : undefined;
  }

  /** Where the tensor's data lies in the shared memory as float32; of one in 16 bits only until the kernel that runs is done. */
  address(tensor: tf.TensorInfo): number {
    const data: unknown = this.data.get(tensor.dataId);
    if (data instanceof FrozenData) return this.#widen(data, tensor.shape);
    if (!(data instanceof SharedData)) throw new TypeError(`a ${tensor.dtype} tensor has no place in the shared memory`);
    return data.address;
  }

  /** The tensor's values in place; valid until the tensor is disposed. */
  view(tensor: tf.TensorInfo): NumericArray {
    return (this.data.get(tensor.dataId) as SharedData).values;
  }

  /** A copy: the memory behind a disposed tensor is used again, and what a caller read must not change under him. */
  override readSync(dataId: object): tf.backend_util.BackendValues {
    const data: unknown = this.data.get(dataId);
    return data instanceof SharedData ? data.values.slice() : super.readSync(dataId);
  }

  override disposeData(dataId: object, force = false): boolean {
    const data: unknown = this.data.has(dataId) ? this.data.get(dataId) : undefined;
    const gone = super.disposeData(dataId, force);
    if (gone && data instanceof SharedData) this.pool.arena.free(data.address);
    return gone;
  }

  override dispose(): void {
    void this.pool.close();
  }
}

function noRoom(shape: readonly number[], bytes: number, used: number, cause: WeightsmithError): WeightsmithError {
  return new WeightsmithError(
    {
      code: "out-of-memory",
      severity: "error",
      message: `no memory is left for a tensor of [${shape}], ${bytes} bytes beside ${used} in use`,
      remedy: "use a smaller batch, shorter sequences or a smaller model",
      notes: cause.diagnostics.map(formatDiagnostic),
    },
    { exitCode: 1, cause },
  );
}

function isNumeric(dtype: tf.DataType): dtype is Numeric {
  return dtype === "float32" || dtype === "int32" || dtype === "bool";
}

/** The active backend, if it is ours. */
export function activeBackend(): SharedBackend | undefined {
  const backend = tf.backend();
  return backend instanceof SharedBackend ? backend : undefined;
}

/** The active backend if it is ours, undefined if it is a device. @throws WeightsmithError `wrong-backend` if it is another */
export const sharedBackendOrDevice = (): SharedBackend | undefined => (tf.backend() instanceof DeviceBackend ? undefined : requireBackend());

/** The active backend. @throws WeightsmithError `wrong-backend` if another is active. */
export function requireBackend(): SharedBackend {
  const backend = activeBackend();
  if (backend !== undefined) return backend;
  throw inputError("wrong-backend", "this operation works on the shared memory", {
    found: `tfjs backend "${tf.getBackend()}"`,
    expected: `"${BACKEND_NAME}"`,
    remedy: "call initBackend first",
  });
}

/**
 * The float values of a tensor in place: what is written here is what the next operation sees. Valid until the tensor is disposed; on a
 * device to be asked for again before anything is written after an operation, when it is the same array.
 */
export function liveValues(tensor: tf.Tensor): Float32Array {
  return allLiveValues([tensor])[0] as Float32Array;
}

/** The same of many tensors, which a device hands over at once. */
export function allLiveValues(tensors: readonly tf.Tensor[]): Float32Array[] {
  const backend = tf.backend();
  if (backend instanceof DeviceBackend) return backend.live(tensors).map(floats);
  return tensors.map((tensor) => floats(backend instanceof SharedBackend ? backend.view(tensor) : tensor.dataSync()));
}

/** The float values of a tensor for reading only, which leaves it on its device. Valid until the tensor is disposed. */
export const readValues = (tensor: tf.Tensor): Float32Array => floats(activeBackend()?.view(tensor) ?? tensor.dataSync());

function floats(values: ArrayLike<number>): Float32Array {
  if (values instanceof Float32Array) return values;
  throw new TypeError("only tensors of float32 have float values");
}
