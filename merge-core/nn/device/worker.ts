// The thread that owns a device: tfjs with that device's backend, which runs the operations it is sent. Devices answer through the event
// loop, while the thread that trains waits without turning its own.
import { parentPort, workerData } from "node:worker_threads";
import type * as Core from "@tensorflow/tfjs-core";
import { type LoadedTfjs, loadTfjs } from "../../compute/providers/load-tfjs.ts";
import { ANSWERED, type DeviceAnswer, type DeviceMessage, type DeviceReady, type DeviceStart, type Numbers, type TensorRef } from "./messages.ts";

const { device, board, port } = workerData as DeviceStart;
const state = new Int32Array(board);
const tensors = new Map<number, Core.Tensor>();
/** The first thing that went wrong; nothing is computed after it. */
let failure: string | undefined;

function answerer({ tf, gpu }: LoadedTfjs): (message: DeviceMessage) => Promise<DeviceAnswer | undefined> {
  return async (message) => {
    for (const id of message.free) {
      tensors.get(id)?.dispose();
      tensors.delete(id);
    }
    if (failure !== undefined) return { failure };
    if (message.kind === "write") {
      tensors.set(message.id, tf.tensor(message.values, [...message.shape], message.dtype));
      return undefined;
    }
    if (message.kind === "lose") {
      if (gpu === undefined) failure ??= "given up";
      else gpu.destroy();
      return undefined;
    }
    if (message.kind === "read") {
      const values = await Promise.all(message.ids.map(async (id) => copyOf(await required(id).data())));
      // What a GPU refused in between is only told here: its results are zeros.
      return failure === undefined ? { values } : { failure };
    }
    const results = run(tf, message);
    const list = Array.isArray(results) ? results : [results];
    for (const [i, tensor] of list.entries()) tensors.set(message.firstId + i, tensor);
    if (message.expected === undefined) return { results: list.map(({ shape, dtype }) => ({ shape, dtype })), isList: Array.isArray(results) };
    const [found, expected] = [list.map(({ shape }) => shape), message.expected].map((shapes) => shapes.map((shape) => `[${shape.join()}]`).join());
    if (found !== expected) throw new TypeError(`${message.kernel} gave ${found} instead of ${expected}`);
    return undefined;
  };
}

/** One operation. Tensors may be known by other shapes on the asking side, where changing a shape costs nothing. */
function run(tf: typeof Core, { kernel, inputs, names, attrs }: Extract<DeviceMessage, { kind: "run" }>): Core.Tensor | Core.Tensor[] {
  const views: Core.Tensor[] = [];
  const inShape = ({ id, shape }: TensorRef): Core.Tensor => {
    const tensor = required(id);
    if (tensor.shape.join() === shape.join()) return tensor;
    const view = tf.reshape(tensor, [...shape]);
    views.push(view);
    return view;
  };
  const given = inputs.map(inShape);
  const named = names === undefined ? given : Object.fromEntries(names.map((name, i) => [name, given[i]]));
  const result = tf.engine().runKernel(kernel, named as Core.NamedTensorMap, attrs as Core.NamedAttrMap) as Core.Tensor | Core.Tensor[];
  for (const view of views) view.dispose();
  return result;
}

function required(id: number): Core.Tensor {
  const tensor = tensors.get(id);
  if (tensor === undefined) throw new RangeError(`the device has no tensor ${id}`);
  return tensor;
}

/** Backends may hand out their own arrays. */
const copyOf = (values: Core.backend_util.TypedArray): Numbers => (values as Numbers).slice();

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function reply(answer: DeviceAnswer): void {
  port.postMessage(
    answer,
    (answer.values ?? []).map((values) => values.buffer as ArrayBuffer),
  );
  Atomics.store(state, 0, ANSWERED);
  Atomics.notify(state, 0);
}

/** The backend itself looks neither for what a GPU refuses, memory above all, nor for its end. */
function watch(gpu: GPUDevice | undefined): void {
  gpu?.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    failure ??= event.error.message || "out of memory";
  });
  void gpu?.lost.then(({ message }) => {
    failure ??= `the device is lost: ${message}`;
  });
}

async function start(): Promise<DeviceReady> {
  const loaded = await loadTfjs(device);
  loaded.tf.enableProdMode();
  watch(loaded.gpu);
  // Packages leave promises that nobody awaits; without an answer the asking thread would wait for one until its time limit.
  process.on("uncaughtException", (error) => {
    failure ??= reasonOf(error);
    reply({ failure });
  });
  const answer = answerer(loaded);
  port.on("message", async (message: DeviceMessage) => {
    const awaited = message.kind === "read" || (message.kind === "run" && message.expected === undefined);
    const found = await answer(message).catch((error: unknown): DeviceAnswer => {
      failure ??= reasonOf(error);
      return { failure };
    });
    if (awaited) reply(found ?? {});
  });
  const kernels = loaded.tf.getKernelsForBackend(loaded.tf.getBackend()).map(({ kernelName }) => kernelName);
  return { kernels, name: [device, loaded.device, loaded.version].join(" ") };
}

parentPort?.postMessage(await start().catch((error: unknown): DeviceReady => ({ kernels: [], name: device, failure: reasonOf(error) })));
