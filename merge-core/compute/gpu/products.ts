// Products of matrices that are on a GPU, by the code that is fastest there.
import { attempt, type Gpu, GpuFailure, MAP, scoped, USAGE } from "./device.ts";
import { GEMM_PARAMS, type GemmCode, gemmWgsl, tileOf } from "./wgsl-gemm.ts";

/** A matrix on the device, row by row. */
export interface DeviceMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly buffer: GPUBuffer;
}

export interface Factor {
  readonly matrix: DeviceMatrix;
  readonly transposed?: boolean;
}

/** C = alpha op(A) op(B) + beta D + gamma I. */
export interface Sum {
  readonly alpha?: number;
  readonly beta?: number;
  readonly d?: DeviceMatrix;
  readonly gamma?: number;
  /** C is known to be symmetric, and D with it: half of it is computed. */
  readonly symmetric?: boolean;
}

interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly tile: number;
}

/** The fastest code, and the fastest of small tiles for matrices that would keep only a part of the device busy. */
interface Codes {
  readonly wide: Compiled;
  readonly narrow: Compiled;
}

/** Fewer workgroups than this leave large devices idle. */
const BUSY_GROUPS = 128;
/** Sides of the product by which codes are compared: it grows until it takes long enough to tell. What takes that long at the first is no GPU. */
const [FIRST_TRIAL, LAST_TRIAL] = [128, 2048];
const TRIAL_SECONDS = 0.005;
const [TRIALS, RUNS] = [2, 4];

/** Matrices on a device: room for them, and their products. Close it to give all room back. */
export class DeviceSpace {
  readonly #gpu: Gpu;
  readonly #code: GemmCode | undefined;
  readonly #held = new Set<GPUBuffer>();
  #codes: Promise<Codes> | undefined;

  /** @param code of products; by default the fastest that is right on this device */
  constructor(gpu: Gpu, code?: GemmCode) {
    this.#gpu = gpu;
    this.#code = code;
  }

  /** Of unknown values, or of these times `scale`. @throws GpuFailure */
  async make(rows: number, columns: number, values?: Float32Array, scale = 1): Promise<DeviceMatrix> {
    const size = Math.max(4, rows * columns * 4);
    if (size > this.#gpu.maxBytes) throw new GpuFailure(`a matrix of ${rows} x ${columns} is larger than what this GPU binds`);
    const buffer = await scoped(this.#gpu, () => this.#upload(size, values, scale));
    this.#held.add(buffer);
    return { rows, columns, buffer };
  }

  free(...matrices: readonly DeviceMatrix[]): void {
    for (const { buffer } of matrices) {
      this.#held.delete(buffer);
      buffer.destroy();
    }
  }

  /** Gives all room back; the space can be used again. */
  close(): void {
    for (const buffer of this.#held) buffer.destroy();
    this.#held.clear();
  }

  /** Values go through mapped memory, never from shared memory to the queue: that crashes Node 20. */
  #upload(size: number, values: Float32Array | undefined, scale: number): GPUBuffer {
    const buffer = this.#gpu.device.createBuffer({ size, usage: USAGE.storage | USAGE.copyFrom, mappedAtCreation: values !== undefined });
    if (values === undefined) return buffer;
    const mapped = new Float32Array(buffer.getMappedRange());
    mapped.set(values);
    if (scale !== 1) for (let i = 0; i < values.length; i++) mapped[i] = scale * (mapped[i] as number);
    buffer.unmap();
    return buffer;
  }

  /** Waits for all that was asked for. @throws GpuFailure, with `into` as it was */
  async read({ rows, columns, buffer }: DeviceMatrix, into: Float32Array = new Float32Array(rows * columns)): Promise<Float32Array> {
    const { device } = this.#gpu;
    const staging = await scoped(this.#gpu, () => {
      const target = device.createBuffer({ size: buffer.size, usage: USAGE.mapRead | USAGE.copyTo });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, target, 0, buffer.size);
      device.queue.submit([encoder.finish()]);
      return target;
    });
    try {
      await attempt("the GPU is lost", () => staging.mapAsync(MAP.read));
      into.set(new Float32Array(staging.getMappedRange(), 0, into.length));
      return into;
    } finally {
      staging.destroy();
    }
  }

  /** `into`, which is neither factor, becomes the product and what is added to it. Without depth only that remains. */
  async multiply(a: Factor, b: Factor, into: DeviceMatrix, sum: Sum = {}): Promise<void> {
    this.#codes ??= this.#choose();
    const { wide, narrow } = await this.#codes;
    const groups = Math.ceil(into.rows / wide.tile) * Math.ceil(into.columns / wide.tile);
    await this.#multiplyBy(groups < BUSY_GROUPS ? narrow : wide, a, b, into, sum);
  }

  /** beta D + gamma I, in another place than D's. */
  async combine(d: DeviceMatrix, beta: number, gamma: number, into: DeviceMatrix): Promise<void> {
    const nothing = { matrix: { ...d, columns: 0 } };
    await this.multiply(nothing, { ...nothing, transposed: true }, into, { beta, d, gamma });
  }

  /** Seconds that a product of this side takes on the device, without the way there and back. */
  async seconds(side: number): Promise<number> {
    this.#codes ??= this.#choose();
    return (await this.#try((await this.#codes).wide, side)).seconds;
  }

  /** How subgroups lie in a workgroup is the driver's choice, so that those codes are compared in what they give, too. */
  async #choose(): Promise<Codes> {
    const first = await this.#compile(this.#code ?? { factors: "f32", sums: 4 });
    if (this.#code !== undefined) return { wide: first, narrow: first };
    try {
      let side = FIRST_TRIAL;
      let before = await this.#try(first, side);
      if (before.seconds >= TRIAL_SECONDS) return { wide: first, narrow: first };
      while (before.seconds < TRIAL_SECONDS && side < LAST_TRIAL) {
        side *= 2;
        before = await this.#try(first, side);
      }
      const found: [Compiled, number][] = [[first, before.seconds]];
      for (const code of this.#others()) {
        const compiled = await this.#compile(code);
        const { values, seconds } = await this.#try(compiled, side);
        if (values.every((value, i) => value === before.values[i])) found.push([compiled, seconds]);
      }
      const fastest = (among: typeof found) => among.reduce((best, one) => (one[1] < best[1] ? one : best))[0];
      return { wide: fastest(found), narrow: fastest(found.filter(([{ tile }]) => tile === first.tile)) };
    } catch {
      // A device that has no room for a trial, or is gone, is told by the product that was asked for.
      return { wide: first, narrow: first };
    }
  }

  #others(): GemmCode[] {
    const quads = this.#gpu.device.features.has("subgroups");
    const plain = { factors: "f32", sums: 8 } as const;
    return [plain, ...(quads ? [{ ...plain, quads }, { ...plain, sums: 4, quads } as const] : [])];
  }

  async #compile(code: GemmCode): Promise<Compiled> {
    return { pipeline: await scoped(this.#gpu, () => gemmPipeline(this.#gpu.device, code)), tile: tileOf(code) };
  }

  /** A product of numbers whose sums are exact in any order. */
  async #try(compiled: Compiled, side: number): Promise<{ values: Float32Array; seconds: number }> {
    const { queue } = this.#gpu.device;
    const numbers = new Float32Array(side * side).map((_, i) => (i * 7919) % 17);
    const [matrix, result] = [await this.make(side, side, numbers), await this.make(side, side)];
    const run = () => this.#multiplyBy(compiled, { matrix }, { matrix, transposed: true }, result);
    try {
      await run();
      const values = await this.read(result);
      let seconds = Number.POSITIVE_INFINITY;
      for (let trial = 0; trial < TRIALS; trial++) {
        const start = performance.now();
        for (let i = 0; i < RUNS; i++) await run();
        await attempt("the GPU is lost", () => queue.onSubmittedWorkDone());
        seconds = Math.min(seconds, (performance.now() - start) / 1000 / RUNS);
      }
      return { values, seconds };
    } finally {
      this.free(matrix, result);
    }
  }

  async #multiplyBy({ pipeline, tile }: Compiled, a: Factor, b: Factor, into: DeviceMatrix, sum: Sum = {}): Promise<void> {
    const { alpha = 1, beta = 0, d, gamma = 0, symmetric = false } = sum;
    const { device } = this.#gpu;
    const depth = a.transposed === true ? a.matrix.rows : a.matrix.columns;
    await scoped(this.#gpu, () => {
      const numbers = new Uint32Array(Float32Array.of(alpha, beta, gamma).buffer);
      const params = device.createBuffer({ size: GEMM_PARAMS * 4, usage: USAGE.storage, mappedAtCreation: true });
      new Uint32Array(params.getMappedRange()).set([into.rows, into.columns, depth, ...stepsOf(a), ...stepsOf(b), ...numbers, Number(symmetric)]);
      params.unmap();
      const buffers = [params, a.matrix.buffer, b.matrix.buffer, (d ?? a.matrix).buffer, into.buffer];
      const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
      pass.dispatchWorkgroups(Math.ceil(into.columns / tile), Math.ceil(into.rows / tile));
      pass.end();
      device.queue.submit([encoder.finish()]);
      params.destroy();
    });
  }
}

export function gemmPipeline(device: GPUDevice, code: GemmCode): GPUComputePipeline {
  return device.createComputePipeline({ layout: "auto", compute: { module: device.createShaderModule({ code: gemmWgsl(code) }) } });
}

/** From one row of op(factor) to the next, and from one column to the next. */
const stepsOf = ({ matrix, transposed = false }: Factor): [number, number] => (transposed ? [1, matrix.columns] : [matrix.columns, 1]);
