// Matrix products of merges on a tfjs device, TensorFlow's CUDA library above all. Element-wise work stays with the pool's kernels.
import type * as tf from "@tensorflow/tfjs-core";
import { type GpuEngine, LEAST_PRODUCT } from "../../compute/gpu/engine.ts";
import type { GpuProduct } from "../../compute/gpu/matrices.ts";
import type { TfjsDevice } from "../../compute/providers/load-tfjs.ts";
import { type DeviceBackend, openDevice } from "./backend.ts";

/** @throws Error with the reason if the device cannot be had */
export async function openDeviceProducts(device: TfjsDevice, leastProduct = LEAST_PRODUCT): Promise<GpuEngine> {
  return new DeviceProducts(await openDevice(device), leastProduct);
}

class DeviceProducts implements GpuEngine {
  readonly elementwise = false;
  readonly #backend: DeviceBackend;
  readonly #leastProduct: number;
  #failure: string | undefined;

  constructor(backend: DeviceBackend, leastProduct: number) {
    this.#backend = backend;
    this.#leastProduct = leastProduct;
  }

  get name(): string {
    return this.#backend.name;
  }

  get failure(): string | undefined {
    return this.#failure;
  }

  product(product: GpuProduct): boolean {
    if (this.#failure !== undefined || product.rows * product.columns * product.depth < this.#leastProduct) return false;
    try {
      const values = this.#multiply(product);
      if (!product.accumulate) product.c.set(values);
      else for (let i = 0; i < values.length; i++) product.c[i] = (product.c[i] as number) + (values[i] as number);
      return true;
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : String(error);
      return false;
    }
  }

  /** Made of products, by whoever asks. */
  polar(): boolean {
    return false;
  }

  triplets(): boolean {
    return false;
  }

  async pass(): Promise<undefined> {
    return undefined;
  }

  async close(): Promise<void> {
    this.#backend.dispose();
  }

  #multiply({ rows, columns, depth, a, transposeA, b, transposeB }: GpuProduct): Float32Array {
    const place = (values: Float32Array, shape: number[]): tf.TensorInfo => ({
      dataId: this.#backend.write(values, shape, "float32"),
      shape,
      dtype: "float32",
    });
    const left = place(a, transposeA ? [depth, rows] : [rows, depth]);
    const right = place(b, transposeB ? [columns, depth] : [depth, columns]);
    const result = this.#backend.run("BatchMatMul", { a: left, b: right }, { transposeA, transposeB }) as tf.TensorInfo;
    try {
      return this.#backend.readSync(result.dataId) as Float32Array;
    } finally {
      for (const { dataId } of [left, right, result]) this.#backend.disposeData(dataId, true);
    }
  }
}
