// The thread that owns the GPU. Dawn answers through its event loop, while the thread that merges waits for matrices without turning its own.
import { parentPort, workerData } from "node:worker_threads";
import { toFailure } from "../messages.ts";
import { attempt, type Gpu, GpuFailure, openGpu } from "./device.ts";
import { DeviceMatrices } from "./matrices.ts";
import { BOARD_BYTES, DONE, FAILED, type GpuAnswer, type GpuRequest, type GpuWorkerStart } from "./messages.ts";
import { runGpuPass } from "./passes.ts";
import { toWgsl } from "./wgsl-program.ts";

const { board, flags, memoryBytes } = workerData as GpuWorkerStart;
const state = new Int32Array(board, 0, 1);
const text = new Uint8Array(board, 4, BOARD_BYTES - 4);
let opened: Promise<{ gpu: Gpu; matrices: DeviceMatrices }> | undefined;

async function open(): Promise<{ gpu: Gpu; matrices: DeviceMatrices }> {
  const gpu = await openGpu({ flags, ...(memoryBytes === undefined ? {} : { memoryBytes }) });
  return { gpu, matrices: new DeviceMatrices(gpu) };
}

async function answer(request: GpuRequest): Promise<Omit<GpuAnswer, "id">> {
  opened ??= open();
  const { gpu, matrices } = await opened;
  switch (request.kind) {
    case "open":
      return { name: gpu.name, maxBytes: gpu.maxBytes };
    case "product":
      await matrices.product(request.product);
      return {};
    case "polar":
      await matrices.polar(request.rows, request.columns, request.a, request.norm, request.into);
      return {};
    case "triplets":
      await matrices.triplets(request.request);
      return {};
    case "pass": {
      const program = toWgsl(request.program);
      if (program === undefined) throw new GpuFailure("this formula has a type that a GPU does not have");
      return { result: await attempt("the GPU failed", () => runGpuPass(gpu, { ...request.pass, program })) };
    }
    case "lose":
      gpu.device.destroy();
      return {};
  }
}

/** Wakes a caller that waits, with the reason for a failure in the rest of the board. */
function wake(failure: string | undefined): void {
  text.fill(0);
  text.set(new TextEncoder().encode(failure ?? "").subarray(0, text.length));
  Atomics.store(state, 0, failure === undefined ? DONE : FAILED);
  Atomics.notify(state, 0);
}

parentPort?.on("message", async ({ id, request }: { id: number; request: GpuRequest }) => {
  const reply = await answer(request).catch((error: unknown) => ({ failure: error instanceof GpuFailure ? error.message : toFailure(error).message }));
  parentPort?.postMessage({ id, ...reply } satisfies GpuAnswer);
  // Passes are awaited by message; a word on the board would wake whoever waits for a matrix meanwhile.
  if (["product", "polar", "triplets"].includes(request.kind)) wake("failure" in reply ? reply.failure : undefined);
});
