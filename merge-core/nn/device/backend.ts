// A tfjs backend whose operations run on a device in a thread of its own: the same models and the same code as on the built-in engine.
// Operations are sent without waiting; only what is read is waited for, so that the device works while the next ones are prepared.
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import * as tf from "@tensorflow/tfjs-core";
import type { TfjsDevice } from "../../compute/providers/load-tfjs.ts";
import { waitWhile } from "../../compute/wait-while.ts";
import { WeightsmithError } from "../../diagnostics.ts";
import {
  type DeviceAnswer,
  type DeviceMessage,
  type DeviceReady,
  type DeviceRequest,
  type DeviceStart,
  type Numbers,
  type NumericType,
  WAITING,
} from "./messages.ts";
import { expectedShapes } from "./shapes.ts";

/** After this long a driver is taken for hung. */
const TIME_LIMIT_MS = 300_000;

/** A tensor's data: on the device, or here because someone may write to it, or both. */
interface Entry {
  refCount: number;
  readonly dtype: NumericType;
  readonly size: number;
  remote: number | undefined;
  host: Numbers | undefined;
}

/** Starts the thread and its packages. @throws Error with the reason if the device cannot be had */
export async function openDevice(device: TfjsDevice, workerUrl = new URL("./device-worker.js", import.meta.url)): Promise<DeviceBackend> {
  const { port1, port2 } = new MessageChannel();
  const board = new SharedArrayBuffer(4);
  const workerData: DeviceStart = { device, board, port: port2 };
  const worker = new Worker(workerUrl, { workerData, transferList: [port2], name: `weightsmith-${device}` });
  const ready = await new Promise<DeviceReady>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error(`the thread of ${device} ended`)));
  });
  if (ready.failure !== undefined) {
    await worker.terminate();
    throw new Error(ready.failure);
  }
  worker.unref();
  return new DeviceBackend(device, ready, worker, port1, board);
}

export class DeviceBackend extends tf.KernelBackend {
  readonly device: TfjsDevice;
  /** Device and package, as the log of a run has it. */
  readonly name: string;
  readonly kernels: readonly string[];
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #state: Int32Array;
  /** Asks tfjs for tensors of other backends when they are first used here. */
  readonly #data = new tf.DataStorage<Entry>(this, tf.engine());
  #free: number[] = [];
  /** Why it computes nothing any more. */
  #failure: string | undefined;
  #nextId = 0;

  constructor(device: TfjsDevice, { name, kernels }: DeviceReady, worker: Worker, port: MessagePort, board: SharedArrayBuffer) {
    super();
    this.device = device;
    this.name = name;
    this.kernels = kernels;
    this.#worker = worker;
    this.#port = port;
    this.#state = new Int32Array(board);
    worker.on("exit", () => {
      this.#failure ??= "its thread ended";
    });
  }

  /** Runs an operation on the device. @throws WeightsmithError `device-failed` */
  run(kernel: string, inputs: tf.NamedTensorInfoMap | readonly tf.TensorInfo[], attrs: tf.NamedAttrMap): tf.TensorInfo | tf.TensorInfo[] {
    const [names, list] = Array.isArray(inputs) ? [undefined, inputs as tf.TensorInfo[]] : namedInputs(inputs as tf.NamedTensorInfoMap);
    // Another name or shape of the same numbers, or the type that they have, is no work for the device.
    if (kernel === "Identity" || kernel === "Reshape" || (kernel === "Cast" && attrs.dtype === list[0]?.dtype))
      return this.#share(list[0] as tf.TensorInfo, kernel === "Reshape" ? attrs.shape : undefined);
    const expected = expectedShapes(kernel, list, attrs);
    const refs = list.map((tensor) => ({ id: this.#remoteOf(tensor), shape: tensor.shape }));
    const request = { kind: "run", kernel, inputs: refs, names, attrs, firstId: this.#nextId, expected } as const;
    if (expected !== undefined) {
      this.#post(request);
      const made = expected.map((shape) => this.#result(shape, "float32"));
      return kernel === "Unpack" ? made : (made[0] as tf.TensorInfo);
    }
    const { results = [], isList } = this.#ask(request);
    const made = results.map(({ shape, dtype }) => this.#result(shape, dtype));
    return isList === true ? made : (made[0] as tf.TensorInfo);
  }

  override write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): object {
    const dataId = {};
    this.move(dataId, values, shape, dtype, 1);
    return dataId;
  }

  override move(dataId: object, values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType, refCount: number): void {
    const type = numeric(dtype);
    const entry: Entry = { refCount, dtype: type, size: tf.util.sizeFromShape(shape), remote: undefined, host: undefined };
    this.#data.set(dataId, entry);
    this.#upload(entry, typedArray(values, type), shape);
  }

  /** A copy. */
  override readSync(dataId: object): tf.backend_util.BackendValues {
    const entry = this.#data.get(dataId);
    return entry.host?.slice() ?? this.#read([entry])[0] ?? new Float32Array();
  }

  override async read(dataId: object): Promise<tf.backend_util.BackendValues> {
    return this.readSync(dataId);
  }

  /**
   * The numbers of tensors, which may be changed: the next operation on a tensor sees what was written before it. Always the same arrays
   * for the same tensors; to write again after an operation, ask again. What is here already is given after the device has failed too.
   */
  live(tensors: readonly tf.TensorInfo[]): Numbers[] {
    const entries = tensors.map(({ dataId }) => this.#data.get(dataId));
    const absent = entries.filter(({ host }) => host === undefined);
    for (const [i, values] of (absent.length === 0 ? [] : this.#read(absent)).entries()) (absent[i] as Entry).host = values;
    for (const entry of entries) this.#release(entry);
    return entries.map(({ host }) => host as Numbers);
  }

  override refCount(dataId: object): number {
    return this.#data.has(dataId) ? this.#data.get(dataId).refCount : 0;
  }

  override incRef(dataId: object): void {
    this.#data.get(dataId).refCount++;
  }

  override disposeData(dataId: object, force = false): boolean {
    if (!this.#data.has(dataId)) return true;
    const entry = this.#data.get(dataId);
    entry.refCount--;
    if (!force && entry.refCount > 0) return false;
    this.#release(entry);
    this.#data.delete(dataId);
    return true;
  }

  override numDataIds(): number {
    return this.#data.numDataIds();
  }

  override memory(): { unreliable: boolean } {
    return { unreliable: true };
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override timerAvailable(): boolean {
    return false;
  }

  /** Gives the device up as a driver would. */
  lose(): void {
    this.#post({ kind: "lose" });
  }

  override dispose(): void {
    this.#port.close();
    void this.#worker.terminate();
  }

  #share(tensor: tf.TensorInfo, shape: unknown): tf.TensorInfo {
    this.incRef(tensor.dataId);
    const inferred = shape === undefined ? tensor.shape : tf.util.inferFromImplicitShape(shape as number[], tf.util.sizeFromShape(tensor.shape));
    return { dataId: tensor.dataId, shape: inferred, dtype: tensor.dtype };
  }

  #result(shape: number[], dtype: tf.DataType): tf.TensorInfo {
    const dataId = {};
    this.#data.set(dataId, { refCount: 1, dtype: numeric(dtype), size: tf.util.sizeFromShape(shape), remote: this.#nextId++, host: undefined });
    return { dataId, shape, dtype };
  }

  #remoteOf({ dataId, shape }: tf.TensorInfo): number {
    const entry = this.#data.get(dataId);
    if (entry.remote === undefined && entry.host !== undefined) this.#upload(entry, entry.host, shape);
    return entry.remote as number;
  }

  /** A copy goes: the caller keeps its array, and memory that threads share crashes a driver's queue on Node 20. */
  #upload(entry: Entry, values: Numbers, shape: readonly number[]): void {
    entry.remote = this.#nextId++;
    const copy = values.slice();
    this.#post({ kind: "write", id: entry.remote, values: copy, shape, dtype: entry.dtype }, [copy.buffer as ArrayBuffer]);
  }

  #release(entry: Entry): void {
    if (entry.remote !== undefined) this.#free.push(entry.remote);
    entry.remote = undefined;
  }

  #read(entries: readonly Entry[]): readonly Numbers[] {
    return this.#ask({ kind: "read", ids: entries.map(({ remote }) => remote as number) }).values ?? [];
  }

  #post(request: DeviceRequest, transfer: ArrayBuffer[] = []): void {
    if (this.#failure !== undefined) throw this.#failed(this.#failure);
    this.#port.postMessage({ ...request, free: this.#free } satisfies DeviceMessage, transfer);
    this.#free = [];
  }

  #ask(request: DeviceRequest): DeviceAnswer {
    Atomics.store(this.#state, 0, WAITING);
    this.#post(request);
    if (!waitWhile(this.#state, WAITING, TIME_LIMIT_MS)) throw this.#failed(`no answer within ${TIME_LIMIT_MS / 1000} s`);
    const answer = receiveMessageOnPort(this.#port)?.message as DeviceAnswer | undefined;
    if (answer === undefined || answer.failure !== undefined) throw this.#failed(answer?.failure ?? "no answer");
    return answer;
  }

  /** For good: a driver that hung once would be waited for at every operation. */
  #failed(found: string): WeightsmithError {
    this.#failure ??= found;
    const remedy = "use a smaller batch or shorter sequences if its memory is full, or --device cpu";
    return new WeightsmithError({ code: "device-failed", severity: "error", message: `${this.name} failed`, found, remedy }, { exitCode: 1 });
  }
}

function namedInputs(inputs: tf.NamedTensorInfoMap): [string[], tf.TensorInfo[]] {
  // Optional inputs may be there without a value.
  const given = Object.entries(inputs).filter((entry): entry is [string, tf.TensorInfo] => entry[1] !== undefined && entry[1] !== null);
  return [given.map(([name]) => name), given.map(([, tensor]) => tensor)];
}

function numeric(dtype: tf.DataType): NumericType {
  if (dtype === "float32" || dtype === "int32" || dtype === "bool") return dtype;
  throw new TypeError(`a device has no tensors of ${dtype}`);
}

function typedArray(values: tf.backend_util.BackendValues, dtype: NumericType): Numbers {
  const Type = dtype === "float32" ? Float32Array : dtype === "int32" ? Int32Array : Uint8Array;
  return values instanceof Type ? values : Type.from(values as ArrayLike<number>);
}

/** Makes a device the active tfjs backend in place of ours; started once. @throws Error with the reason if it cannot be had */
export async function initDevice(device: TfjsDevice): Promise<DeviceBackend> {
  tf.enableProdMode();
  let backend = tf.findBackend(device) as DeviceBackend | null;
  if (backend === null) {
    const opened = await openDevice(device);
    for (const kernelName of opened.kernels) {
      const kernelFunc: tf.KernelFunc = ({ inputs, attrs, backend }) => (backend as DeviceBackend).run(kernelName, inputs, attrs ?? {});
      if (tf.getKernel(kernelName, device) === undefined) tf.registerKernel({ kernelName, backendName: device, kernelFunc });
    }
    tf.registerBackend(device, () => opened);
    backend = opened;
  }
  await tf.setBackend(device);
  return backend;
}
