// The threads of the compute layer: one shared WASM memory, the calling thread, and workers started when first needed.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { throwIfCancelled } from "../diagnostics.ts";
import { Arena } from "./arena.ts";
import { FileTable } from "./files.ts";
import type { GpuEngine } from "./gpu/engine.ts";
import { type ComputeContext, instantiate, kernelModule, MAX_PAGES, PAGE_BYTES } from "./instance.ts";
import { type FromWorker, fromFailure, type ToWorker, type WorkerStart } from "./messages.ts";
import {
  awaitParts,
  boardOf,
  createBoardBuffer,
  MAX_ARGS,
  MAX_PARTS,
  MAX_WORKERS,
  postParts,
  releaseWorkers,
  resetWorker,
  takeParts,
  wakeWorker,
} from "./parts.ts";
import type { Blas } from "./providers/blas.ts";
import { blasKernels } from "./providers/blas-kernels.ts";
import { STOP, type TileJob, type TileResult } from "./tile-job.ts";
import { runTiles } from "./tiles.ts";

export interface PoolOptions {
  /** Threads that compute; 1 starts no worker at all. Default: the cores this process may use. */
  readonly threads?: number;
  /** The most the shared memory may grow to, in bytes. Default and maximum: 4 GiB. */
  readonly maxMemoryBytes?: number;
  /** The worker program, for hosts that move it away from the bundle. */
  readonly workerUrl?: URL;
  /**
   * Does matrix products and decompositions in place of the kernels. Results then depend on the library. One that is loaded for a single
   * thread is called by every thread of the pool, and then does the products of `gemm` too.
   */
  readonly blas?: Blas | undefined;
  /** Does what is large enough to be worth the way, until it fails. */
  readonly gpu?: GpuEngine | undefined;
}

/** Between steps of inline work the event loop gets a turn this often. */
const INLINE_SLICE_MS = 30;

interface Pending {
  readonly resolve: (result: TileResult) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly pending: Map<number, Pending>;
}

export function createPool(options: PoolOptions = {}): ComputePool {
  return new ComputePool(options);
}

export class ComputePool {
  readonly threads: number;
  readonly arena: Arena;
  readonly files = new FileTable();
  readonly blas: Blas | undefined;
  readonly gpu: GpuEngine | undefined;
  readonly #context: ComputeContext;
  readonly #boardBuffer = createBoardBuffer();
  readonly #board = boardOf(this.#boardBuffer);
  readonly #workers: (Thread | undefined)[] = [];
  readonly #workerUrl: URL;
  readonly #kernelIndex: ReadonlyMap<string, number>;
  #nextId = 0;
  #closed = false;

  constructor({ threads, maxMemoryBytes = MAX_PAGES * PAGE_BYTES, workerUrl, blas, gpu }: PoolOptions) {
    this.blas = blas;
    this.gpu = gpu;
    this.threads = Math.max(1, Math.min(threads ?? availableParallelism(), MAX_WORKERS));
    const maximum = Math.min(MAX_PAGES, Math.max(1, Math.ceil(maxMemoryBytes / PAGE_BYTES)));
    // The module asks for the full maximum; a lower budget is the arena's to keep.
    const memory = new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES, shared: true });
    this.arena = new Arena(memory, maximum * PAGE_BYTES);
    this.#context = instantiate(kernelModule(), memory, this.blasOfThreads && blasKernels(this.blasOfThreads));
    this.#kernelIndex = new Map(this.#context.names.map((name, i) => [name, i]));
    this.#workerUrl = workerUrl ?? new URL("./compute-worker.js", import.meta.url);
  }

  /** The library that each thread calls for its parts. */
  get blasOfThreads(): Blas | undefined {
    return this.blas?.threads === 1 ? this.blas : undefined;
  }

  get memory(): WebAssembly.Memory {
    return this.#context.memory;
  }

  /** The calling thread's own instance, for kernels too small to share. */
  get context(): ComputeContext {
    return this.#context;
  }

  /**
   * Calls the kernel once for each row of numeric arguments, on all threads, and returns when all are done. Blocks the calling
   * thread, which takes its share of the parts; meant for kernels of microseconds to milliseconds. All rows have one length.
   * @throws Error if a part traps.
   */
  runSync(name: string, argsPerPart: readonly (readonly number[])[]): void {
    const index = this.#kernelIndex.get(name);
    if (index === undefined) throw new TypeError(`no kernel is called ${name}`);
    const call = this.#context.kernel(name);
    if (this.threads === 1 || argsPerPart.length < 2) {
      for (const args of argsPerPart) call(...args);
      return;
    }
    if ((argsPerPart[0]?.length ?? 0) > MAX_ARGS) throw new TypeError(`kernel ${name} has more than ${MAX_ARGS} arguments`);
    for (let at = 0; at < argsPerPart.length; at += MAX_PARTS) this.#runRound(index, call, argsPerPart.slice(at, at + MAX_PARTS));
  }

  #runRound(index: number, call: (...args: number[]) => number, parts: readonly (readonly number[])[]): void {
    postParts(this.#board, index, parts);
    const helpers = Math.min(this.threads, parts.length) - 1;
    for (let i = 0; i < helpers; i++) {
      const thread = this.#thread(i);
      if (wakeWorker(this.#board, i)) thread.worker.postMessage({ kind: "park" } satisfies ToWorker);
    }
    takeParts(this.#board, (_, args) => call(...args));
    awaitParts(this.#board);
  }

  /**
   * Runs a job on every thread of the pool: on the workers, or in slices on this thread if there is only one.
   * Settles when all threads have let go of the job's memory.
   * @throws WeightsmithError `cancelled`, or what a thread threw.
   */
  async run(job: TileJob, options: { readonly signal?: AbortSignal | undefined; readonly inline?: boolean } = {}): Promise<TileResult[]> {
    const { signal } = options;
    throwIfCancelled(signal);
    const stop = (): void => {
      Atomics.store(job.control, STOP, 1);
    };
    signal?.addEventListener("abort", stop, { once: true });
    try {
      const results = options.inline || this.threads === 1 ? [await this.#runInline(job)] : await this.#runOnWorkers(job);
      throwIfCancelled(signal);
      return results;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  #runInline(job: TileJob): Promise<TileResult> {
    let pauseAt = performance.now() + INLINE_SLICE_MS;
    return runTiles(this.#context, job, 0, () => {
      if (performance.now() < pauseAt) return undefined;
      return new Promise((resume) => {
        setImmediate(() => {
          pauseAt = performance.now() + INLINE_SLICE_MS;
          resume();
        });
      });
    });
  }

  async #runOnWorkers(job: TileJob): Promise<TileResult[]> {
    releaseWorkers(this.#board, this.threads);
    const answers = await Promise.allSettled(Array.from({ length: this.threads }, (_, part) => this.#send(part, job)));
    const failed = answers.find((answer) => answer.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  }

  #send(index: number, job: TileJob): Promise<TileResult> {
    const thread = this.#thread(index);
    const id = this.#nextId++;
    return new Promise<TileResult>((resolve, reject) => {
      const fail = (error: Error): void => {
        Atomics.store(job.control, STOP, 1);
        reject(error);
      };
      thread.pending.set(id, { resolve, reject: fail });
      thread.worker.ref();
      thread.worker.postMessage({ kind: "job", id, job, part: index } satisfies ToWorker);
    });
  }

  #thread(index: number): Thread {
    if (this.#closed) throw new Error("the compute pool is closed");
    const thread = this.#workers[index] ?? this.#startWorker(index);
    this.#workers[index] = thread;
    return thread;
  }

  #startWorker(index: number): Thread {
    const workerData: WorkerStart = { module: kernelModule(), memory: this.memory, board: this.#boardBuffer, index, blas: this.blasOfThreads?.file };
    const worker = new Worker(this.#workerUrl, { workerData, name: `weightsmith-compute-${index}` });
    const thread: Thread = { worker, pending: new Map() };
    worker.on("message", (message: FromWorker) => this.#settle(thread, message));
    worker.on("error", (error) => this.#lose(index, thread, new Error("a compute worker crashed", { cause: error })));
    worker.on("exit", (code) => this.#lose(index, thread, new Error(`a compute worker ended with exit code ${code}`)));
    // After the listeners: adding one makes the worker keep the process alive again.
    worker.unref();
    return thread;
  }

  #settle(thread: Thread, message: FromWorker): void {
    const pending = thread.pending.get(message.id);
    thread.pending.delete(message.id);
    if (thread.pending.size === 0) thread.worker.unref();
    if ("result" in message) pending?.resolve(message.result);
    else pending?.reject(fromFailure(message.failure));
  }

  #lose(index: number, thread: Thread, error: Error): void {
    if (this.#workers[index] === thread) this.#workers[index] = undefined;
    for (const pending of thread.pending.values()) pending.reject(error);
    thread.pending.clear();
    resetWorker(this.#board, index);
  }

  /** Stops the workers and closes cached files. Work in progress rejects. */
  async close(): Promise<void> {
    this.#closed = true;
    releaseWorkers(this.#board, this.threads);
    await Promise.all(this.#workers.map((thread) => thread?.worker.terminate()));
    this.files.closeAll();
  }
}
