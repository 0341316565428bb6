// The program of a compute worker thread.
import { parentPort, workerData } from "node:worker_threads";
import { instantiate } from "./instance.ts";
import { type FromWorker, type ToWorker, toFailure, type WorkerStart } from "./messages.ts";
import { boardOf, park } from "./parts.ts";
import { loadBlas } from "./providers/blas.ts";
import { blasKernels } from "./providers/blas-kernels.ts";
import { STOP } from "./tile-job.ts";
import { runTiles } from "./tiles.ts";

const start = workerData as WorkerStart;
const blas = start.blas === undefined ? undefined : await loadBlas(1, start.blas);
const context = instantiate(start.module, start.memory, blas && blasKernels(blas));
const board = boardOf(start.board);

function callKernel(index: number, args: readonly number[]): void {
  context.kernel(context.names[index] ?? "")(...args);
}

async function answer(message: Extract<ToWorker, { kind: "job" }>): Promise<FromWorker> {
  try {
    return { id: message.id, result: await runTiles(context, message.job, message.part) };
  } catch (error) {
    // The others need not finish what will be thrown away.
    Atomics.store(message.job.control, STOP, 1);
    return { id: message.id, failure: toFailure(error) };
  }
}

async function handle(message: ToWorker): Promise<void> {
  if (message.kind === "park") park(board, start.index, callKernel);
  else parentPort?.postMessage(await answer(message));
}

// One after the other: a thread that parked while its job waits for a file would keep the job waiting.
let last: Promise<void> = Promise.resolve();
parentPort?.on("message", (message: ToWorker) => {
  last = last.then(() => handle(message));
});
