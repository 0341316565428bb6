// Matrix products and polar factors on a GPU. Operands come from memory that threads share and results go back there; what lies between
// the steps of a polar factor stays on the device.
import { attempt, type Gpu, GpuFailure, MAP, scoped, USAGE } from "./device.ts";
import { GEMM_PARAMS, type GemmCode, gemmWgsl, TILE } from "./wgsl-gemm.ts";

export interface GpuProduct {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly a: Float32Array;
  readonly transposeA: boolean;
  readonly b: Float32Array;
  readonly transposeB: boolean;
  readonly c: Float32Array;
  readonly accumulate: boolean;
}

/** A matrix on the device, row by row. */
interface DeviceMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly buffer: GPUBuffer;
}

interface Factor {
  readonly matrix: DeviceMatrix;
  readonly transposed?: boolean;
}

/** C = alpha op(A) op(B) + beta D + gamma I. */
interface Sum {
  readonly alpha?: number;
  readonly beta?: number;
  readonly d?: DeviceMatrix;
  readonly gamma?: number;
}

/** Coefficients of x, x^3 and x^5 that take singular values from [1e-5, 1] to 1 (The Polar Express: Amsel, Persson, Musco and Gower, 2025). */
type Quintic = readonly [number, number, number];
/** Smaller singular values, as a share of the Frobenius norm, count as rounding: float32 products leave about a millionth. */
const LEAST_VALUE = 1e-5;
/** Lower end over upper end of the widest interval that a polynomial is made for. */
const CUSHION = 0.024;
const STEPS = quintics(LEAST_VALUE);
/** As in linalg/polar.ts: part small values from large, then polish. */
const DECIDE: readonly Quintic[] = [
  [0, 3, -2],
  [1.5, -0.5, 0],
];
const UNDECIDED = 1e-5;
const MAX_DECISIONS = 12;

/** Side of the product by which codes are compared, and how often each is timed. */
const TRIAL = 256;
const TRIALS = 3;

export class DeviceMatrices {
  readonly #gpu: Gpu;
  #pipeline: Promise<GPUComputePipeline> | undefined;

  /** @param code of products; by default the fastest that is right on this device */
  constructor(gpu: Gpu, code?: GemmCode) {
    this.#gpu = gpu;
    this.#pipeline = code && this.#compile(code);
  }

  /** C (+)= op(A) op(B). @throws GpuFailure, with C as it was */
  async product({ rows, columns, depth, a, transposeA, b, transposeB, c, accumulate }: GpuProduct): Promise<void> {
    await this.#with(async (use) => {
      const left = await use(transposeA ? depth : rows, transposeA ? rows : depth, a);
      const right = a === b && transposeA === !transposeB ? left : await use(transposeB ? columns : depth, transposeB ? depth : columns, b);
      const sum = accumulate ? { beta: 1, d: await use(rows, columns, c) } : {};
      const result = await use(rows, columns);
      await this.#multiply({ matrix: left, transposed: transposeA }, { matrix: right, transposed: transposeB }, result, sum);
      await this.#read(result, c);
    });
  }

  /** The polar factor of A, which is at most as high as wide, times nothing else. @throws GpuFailure, with `into` as it was */
  async polar(rows: number, columns: number, a: Float32Array, norm: number, into: Float32Array): Promise<void> {
    await this.#with(async (use) => {
      let x = await use(rows, columns, a, 1 / norm);
      let next = await use(rows, columns);
      const [gram, square] = [await use(rows, rows), await use(rows, rows)];
      const measured = new Float32Array(rows * rows);
      const step = async ([linear, cubic, fifth]: Quintic): Promise<void> => {
        await this.#multiply({ matrix: gram }, { matrix: gram }, square, { alpha: fifth, beta: cubic, d: gram, gamma: linear });
        await this.#multiply({ matrix: square }, { matrix: x }, next);
        [x, next] = [next, x];
        await this.#multiply({ matrix: x }, { matrix: x, transposed: true }, gram);
      };
      await this.#multiply({ matrix: x }, { matrix: x, transposed: true }, gram);
      for (const quintic of STEPS) await step(quintic);
      for (let decision = 0; decision < MAX_DECISIONS; decision++) {
        await this.#read(gram, measured);
        if (undecided(measured, rows) <= UNDECIDED * rows) break;
        for (const quintic of DECIDE) await step(quintic);
      }
      await this.#read(x, into);
    });
  }

  /** Calls `action` with a function that makes matrices; all are given back. */
  async #with(action: (use: (rows: number, columns: number, values?: Float32Array, scale?: number) => Promise<DeviceMatrix>) => Promise<void>): Promise<void> {
    const buffers: GPUBuffer[] = [];
    try {
      await action(async (rows, columns, values, scale = 1) => {
        const size = Math.max(4, rows * columns * 4);
        if (size > this.#gpu.maxBytes) throw new GpuFailure(`a matrix of ${rows} x ${columns} is larger than what this GPU binds`);
        const buffer = await scoped(this.#gpu, () => this.#upload(size, values, scale));
        buffers.push(buffer);
        return { rows, columns, buffer };
      });
    } finally {
      for (const buffer of buffers) buffer.destroy();
    }
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

  async #multiply(a: Factor, b: Factor, into: DeviceMatrix, sum: Sum = {}): Promise<void> {
    this.#pipeline ??= this.#choose();
    await this.#multiplyBy(await this.#pipeline, a, b, into, sum);
  }

  /** The fastest code whose product is right: how subgroups lie in a workgroup is the driver's choice. */
  async #choose(): Promise<GPUComputePipeline> {
    const plain = await this.#compile({ factors: "f32" });
    if (!this.#gpu.device.features.has("subgroups")) return plain;
    try {
      const quads = await this.#compile({ factors: "f32", quads: true });
      const [before, now] = [await this.#try(plain), await this.#try(quads)];
      return now.seconds < before.seconds && now.values.every((value, i) => value === before.values[i]) ? quads : plain;
    } catch {
      // A device that has no room for a trial, or is gone, is told by the product that was asked for.
      return plain;
    }
  }

  #compile(code: GemmCode): Promise<GPUComputePipeline> {
    return scoped(this.#gpu, () => gemmPipeline(this.#gpu.device, code));
  }

  /** A product of numbers whose sums are exact in any order. */
  async #try(pipeline: GPUComputePipeline): Promise<{ values: Float32Array; seconds: number }> {
    const values = new Float32Array(TRIAL * TRIAL);
    let seconds = Number.POSITIVE_INFINITY;
    await this.#with(async (use) => {
      const matrix = await use(
        TRIAL,
        TRIAL,
        values.map((_, i) => (i * 7919) % 17),
      );
      const result = await use(TRIAL, TRIAL);
      for (let run = 0; run < TRIALS; run++) {
        const start = performance.now();
        await this.#multiplyBy(pipeline, { matrix }, { matrix, transposed: true }, result);
        await this.#read(result, values);
        seconds = Math.min(seconds, (performance.now() - start) / 1000);
      }
    });
    return { values, seconds };
  }

  async #multiplyBy(pipeline: GPUComputePipeline, a: Factor, b: Factor, into: DeviceMatrix, { alpha = 1, beta = 0, d, gamma = 0 }: Sum = {}): Promise<void> {
    const { device } = this.#gpu;
    const depth = a.transposed === true ? a.matrix.rows : a.matrix.columns;
    await scoped(this.#gpu, () => {
      const numbers = new Uint32Array(Float32Array.of(alpha, beta, gamma).buffer);
      const params = device.createBuffer({ size: GEMM_PARAMS * 4, usage: USAGE.storage, mappedAtCreation: true });
      new Uint32Array(params.getMappedRange()).set([into.rows, into.columns, depth, ...stepsOf(a), ...stepsOf(b), ...numbers]);
      params.unmap();
      const buffers = [params, a.matrix.buffer, b.matrix.buffer, (d ?? a.matrix).buffer, into.buffer];
      const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
      pass.dispatchWorkgroups(Math.ceil(into.columns / TILE), Math.ceil(into.rows / TILE));
      pass.end();
      device.queue.submit([encoder.finish()]);
      params.destroy();
    });
  }

  async #read({ buffer }: DeviceMatrix, into: Float32Array): Promise<void> {
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
    } finally {
      staging.destroy();
    }
  }
}

export function gemmPipeline(device: GPUDevice, code: GemmCode): GPUComputePipeline {
  return device.createComputePipeline({ layout: "auto", compute: { module: device.createShaderModule({ code: gemmWgsl(code) }) } });
}

/** From one row of op(factor) to the next, and from one column to the next. */
const stepsOf = ({ matrix, transposed = false }: Factor): [number, number] => (transposed ? [1, matrix.columns] : [matrix.columns, 1]);

/** How far the squares of singular values are from 0 and 1 in sum, from the Gram matrix. */
function undecided(gram: Float32Array, n: number): number {
  let [trace, squares] = [0, 0];
  for (let i = 0; i < n; i++) trace += gram[i * n + i] as number;
  for (const value of gram) squares += value * value;
  if (!Number.isFinite(squares)) throw new GpuFailure("the polar iteration left the range of float32");
  return Math.abs(trace - squares);
}

/** The quintics that take [least, 1] to 1, each the best for the interval that the one before leaves. */
function quintics(least: number): Quintic[] {
  const steps: Quintic[] = [];
  let [low, high] = [least, 1];
  while (high - low > 1e-6) {
    // An interval that is too wide is taken as narrower: its lower end would cost the upper one too much.
    const from = Math.max(low, CUSHION * high);
    // Beyond the interval a steep polynomial would make rounding grow, so it is made for a little more.
    const safety = low / high < 0.5 ? 1.01 : 1;
    const [a, b, c] = bestQuintic(from, high);
    const step: Quintic = [a / safety, b / safety ** 3, c / safety ** 5];
    const at = (x: number): number => step[0] * x + step[1] * x ** 3 + step[2] * x ** 5;
    steps.push(step);
    [low, high] = [at(low), 2 - (a * from + b * from ** 3 + c * from ** 5)];
  }
  return steps;
}

/** The odd polynomial of degree 5 that is nearest to 1 on [low, high], by Remez's exchange: its error is equal at four places. */
function bestQuintic(low: number, high: number): Quintic {
  if (low / high >= 1 - 5e-6) return [1.875 / high, -1.25 / high ** 3, 0.375 / high ** 5];
  let [q, r] = [(3 * low + high) / 4, (low + 3 * high) / 4];
  for (let round = 0; ; round++) {
    const [a, b, c] = solve4([low, q, r, high].map((x, i) => [x, x ** 3, x ** 5, i % 2 === 0 ? 1 : -1, 1])) as [number, number, number];
    const root = Math.sqrt(Math.max(0, 9 * b * b - 20 * a * c));
    if (round === 30) return [a, b, c];
    [q, r] = [Math.sqrt((-3 * b - root) / (10 * c)), Math.sqrt((-3 * b + root) / (10 * c))];
  }
}

/** Gaussian elimination with pivots of rows that end with the right side. */
function solve4(rows: number[][]): number[] {
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let k = 0; k < rows.length; k++) {
    const pivot = rows.map((_, i) => i).reduce((best, i) => (i >= k && (best < k || Math.abs(at(i, k)) > Math.abs(at(best, k))) ? i : best), -1);
    [rows[k], rows[pivot]] = [rows[pivot] as number[], rows[k] as number[]];
    for (let i = 0; i < rows.length; i++) {
      const factor = at(i, k) / at(k, k);
      if (i !== k) rows[i] = (rows[i] as number[]).map((value, j) => value - factor * at(k, j));
    }
  }
  return rows.map((_, i) => at(i, rows.length) / at(i, i));
}
