// The GPU as the merging thread sees it. Every operation says whether it was done; after the first failure none is, and the caller's
// own kernels do the work from there on, with the same result within the last digits.
import { Worker } from "node:worker_threads";
import type { Program } from "../program.ts";
import { waitWhile } from "../wait-while.ts";
import { GpuFailure, MAX_GROUPS } from "./device.ts";
import type { GpuProduct } from "./matrices.ts";
import { BOARD_BYTES, FAILED, type GpuAnswer, type GpuRequest, type GpuWorkerStart, WAITING } from "./messages.ts";
import type { GpuPass, GpuPassResult } from "./passes.ts";
import type { TripletsRequest } from "./triplets.ts";
import { tileOf } from "./wgsl-gemm.ts";

/** What computes in the place of the pool's kernels. */
export interface GpuEngine {
  /** What the manifest calls it. */
  readonly name: string;
  readonly elementwise: boolean;
  /** Why it is no longer used. */
  readonly failure: string | undefined;
  /** C (+)= op(A) op(B), waiting for it. @returns false, with C as it was, if it was not done */
  product(product: GpuProduct): boolean;
  /** The polar factor of A [rows, columns], rows <= columns, of this Frobenius norm. @returns false if it was not done */
  polar(rows: number, columns: number, a: Float32Array, norm: number, into: Float32Array): boolean;
  /** The leading singular triplets. @returns false if they were not found */
  triplets(request: TripletsRequest): boolean;
  /** A pass over elements; undefined, with the output in any state, if it was not done. */
  pass(program: Program, pass: Omit<GpuPass, "program">): Promise<GpuPassResult | undefined>;
  close(): Promise<void>;
}

export interface GpuEngineOptions {
  /** Formulas element by element too, not only matrices: slower on most machines, since every byte crosses the bus. */
  readonly elementwise?: boolean;
  /** Products of fewer multiplications than this are not worth the way. */
  readonly leastProduct?: number;
  /** Bytes that buffers may take at once: what is beyond is refused as a full device refuses it. Default: all that the device gives. */
  readonly memoryBytes?: number;
  /** Dawn's options. */
  readonly flags?: readonly string[];
  /** The worker program, for hosts that move it away from the bundle. */
  readonly workerUrl?: URL;
}

/** Products of fewer multiplications stay here: one of 512 x 512 takes the built-in engine a few milliseconds, about what the way to a GPU and back takes. */
export const LEAST_PRODUCT = 2 ** 27;
/** Of matrices: that many workgroups of the smallest tile go along a dimension of a dispatch. */
const MAX_SIDE = MAX_GROUPS * tileOf({ sums: 4 });
/** After this long a driver is taken for hung. */
const TIME_LIMIT_MS = 300_000;

/** @throws GpuFailure if there is no GPU that works */
export async function openGpuEngine(options: GpuEngineOptions = {}): Promise<WebgpuEngine> {
  const engine = new WebgpuEngine(options);
  try {
    await engine.open();
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  }
}

export class WebgpuEngine implements GpuEngine {
  readonly elementwise: boolean;
  readonly #leastProduct: number;
  readonly #board = new SharedArrayBuffer(BOARD_BYTES);
  readonly #state = new Int32Array(this.#board, 0, 1);
  readonly #worker: Worker;
  readonly #pending = new Map<number, { resolve: (answer: GpuAnswer) => void; reject: (error: Error) => void }>();
  #device = "";
  #maxBytes = 0;
  #nextId = 0;
  #closed = false;
  #failure: string | undefined;

  constructor({ elementwise = false, leastProduct = LEAST_PRODUCT, flags = [], memoryBytes, workerUrl }: GpuEngineOptions) {
    this.elementwise = elementwise;
    this.#leastProduct = leastProduct;
    const workerData: GpuWorkerStart = { board: this.#board, flags, memoryBytes };
    this.#worker = new Worker(workerUrl ?? new URL("./gpu-worker.js", import.meta.url), { workerData, name: "weightsmith-gpu" });
    this.#worker.on("message", (answer: GpuAnswer) => this.#settle(answer));
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", () => this.#end(new Error("the GPU's thread ended")));
    this.#worker.unref();
  }

  get name(): string {
    return `webgpu ${this.#device}`;
  }

  get failure(): string | undefined {
    return this.#failure;
  }

  async open(): Promise<void> {
    const { name = "", maxBytes = 0 } = await this.#request({ kind: "open" });
    this.#device = name;
    this.#maxBytes = maxBytes;
  }

  product(product: GpuProduct): boolean {
    const { rows, columns, depth } = product;
    const worth = rows * columns * depth >= this.#leastProduct;
    return worth && this.#holds([rows, columns], [rows, depth], [depth, columns]) && this.#wait({ kind: "product", product });
  }

  polar(rows: number, columns: number, a: Float32Array, norm: number, into: Float32Array): boolean {
    const worth = rows * rows * columns >= this.#leastProduct;
    return worth && this.#holds([rows, columns]) && this.#wait({ kind: "polar", rows, columns, a, norm, into });
  }

  triplets(request: TripletsRequest): boolean {
    const { rows, columns, width } = request;
    const worth = width * rows * columns >= this.#leastProduct;
    return worth && this.#holds([rows, columns]) && this.#wait({ kind: "triplets", request });
  }

  /** Whether a shader can see, and a dispatch can reach, all of such matrices. */
  #holds(...shapes: readonly (readonly [number, number])[]): boolean {
    return shapes.every(([rows, columns]) => 4 * rows * columns <= this.#maxBytes && Math.max(rows, columns) <= MAX_SIDE);
  }

  async pass(program: Program, pass: Omit<GpuPass, "program">): Promise<GpuPassResult | undefined> {
    if (this.#failure !== undefined) return undefined;
    try {
      return (await this.#request({ kind: "pass", program, pass })).result;
    } catch (error) {
      this.#failure ??= error instanceof Error ? error.message : String(error);
      return undefined;
    }
  }

  /** Gives the device up as a driver would. */
  async lose(): Promise<void> {
    await this.#request({ kind: "lose" });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker.terminate();
  }

  #wait(request: GpuRequest): boolean {
    if (this.#failure !== undefined) return false;
    Atomics.store(this.#state, 0, WAITING);
    this.#post(request);
    const late = !waitWhile(this.#state, WAITING, TIME_LIMIT_MS);
    if (!late && Atomics.load(this.#state, 0) !== FAILED) return true;
    const text = new TextDecoder().decode(new Uint8Array(this.#board, 4).slice()).replace(/\0+$/, "");
    this.#failure = late ? `no answer within ${TIME_LIMIT_MS / 1000} s` : text;
    return false;
  }

  #request(request: GpuRequest): Promise<GpuAnswer> {
    const id = this.#post(request);
    this.#worker.ref();
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #post(request: GpuRequest): number {
    const id = this.#nextId++;
    this.#worker.postMessage({ id, request });
    return id;
  }

  #settle(answer: GpuAnswer): void {
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    // A late answer must not let go of a thread whose end is awaited.
    if (this.#pending.size === 0 && !this.#closed) this.#worker.unref();
    if (answer.failure === undefined) pending?.resolve(answer);
    else pending?.reject(new GpuFailure(answer.failure));
  }

  #end(error: Error): void {
    this.#failure ??= error.message;
    for (const pending of this.#pending.values()) pending.reject(new GpuFailure(error.message));
    this.#pending.clear();
  }
}
