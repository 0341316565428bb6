// tfjs with a backend that is not ours: TensorFlow's own library, or WebGPU. All of it is optional and found where the user installed it.
import { createRequire } from "node:module";
import { totalmem } from "node:os";
import { pathToFileURL } from "node:url";
import util from "node:util";
import type * as Core from "@tensorflow/tfjs-core";
import { attempt, holdForever, loadWebgpu, nameOf } from "../gpu/device.ts";
import { findPackage, importPackage } from "./find-package.ts";

export const TFJS_DEVICES = ["webgpu", "tfjs-node-gpu", "tfjs-node"] as const;
export type TfjsDevice = (typeof TFJS_DEVICES)[number];

export interface LoadedTfjs {
  readonly tf: typeof Core;
  readonly version: string;
  /** What computes, as drivers or packages tell it. */
  readonly device: string;
  /** This machine's memory, or the largest buffer of a GPU; unknown on TensorFlow's GPUs. */
  readonly memoryBytes?: number;
  /** Where it is a GPU of WebGPU. */
  readonly gpu?: GPUDevice;
}

export const TFJS_PACKAGES: Readonly<Record<TfjsDevice, string>> = {
  webgpu: "webgpu @tensorflow/tfjs-backend-webgpu",
  "tfjs-node-gpu": "@tensorflow/tfjs-node-gpu",
  "tfjs-node": "@tensorflow/tfjs-node",
};

/** Loads a device's packages and makes its backend the active one of their tfjs. @throws Error whatever the packages throw */
export function loadTfjs(device: TfjsDevice): Promise<LoadedTfjs> {
  return device === "webgpu" ? loadOnWebgpu() : loadTensorFlow(device);
}

async function loadTensorFlow(device: Exclude<TfjsDevice, "webgpu">): Promise<LoadedTfjs> {
  restoreNodeUtil();
  const tf = unwrap(await importPackage(TFJS_PACKAGES[device])) as typeof Core & { version: Record<string, string> };
  await tf.ready();
  const native = (tf.backend() as { binding?: { TF_Version?: string } }).binding?.TF_Version;
  const name = native === undefined ? tf.getBackend() : `TensorFlow ${native}`;
  const memory = device === "tfjs-node" ? { memoryBytes: totalmem() } : {};
  return { tf, version: tf.version["tfjs-node"] ?? tf.version.tfjs ?? "", device: name, ...memory };
}

/** Node 23 removed functions that the last release of tfjs-node still calls, not on load but on the first operation. */
export function restoreNodeUtil(target: object = util): void {
  const removed = { isNullOrUndefined: (x: unknown) => x === null || x === undefined, isArray: Array.isArray };
  for (const [name, value] of Object.entries(removed)) if (!(name in target)) Object.assign(target, { [name]: value });
}

async function loadOnWebgpu(): Promise<LoadedTfjs> {
  const { create, globals } = await loadWebgpu();
  const gpu = create([]);
  holdForever(gpu, globals);
  // What the backend expects of a browser, before it is imported.
  Object.assign(globalThis, globals);
  setNavigator({ gpu });
  const backend = await importPackage("@tensorflow/tfjs-backend-webgpu");
  // Its own tfjs, beside it: a backend is known only to the copy that it registered with.
  const beside = createRequire(findPackage("@tensorflow/tfjs-backend-webgpu") ?? "");
  const tf = unwrap(await import(pathToFileURL(beside.resolve("@tensorflow/tfjs-core")).href)) as typeof Core;
  holdForever(backend);
  const adapter = await attempt("the GPU cannot be reached", () => gpu.requestAdapter({ powerPreference: "high-performance" }));
  if (adapter === null) throw new Error("no GPU adapter found; is a Vulkan, Metal or D3D12 driver installed?");
  if (!(await tf.setBackend("webgpu"))) throw new Error("tfjs-backend-webgpu did not start");
  await tf.ready();
  const { device } = tf.backend() as unknown as { readonly device: GPUDevice };
  return { tf, version: tf.version_core, device: nameOf(adapter.info), memoryBytes: device.limits.maxBufferSize, gpu: device };
}

/** From Node 21 on `navigator` is a getter without a setter: assigning to it fails. */
export function setNavigator(value: object): void {
  Object.defineProperty(globalThis, "navigator", { value, configurable: true, writable: true });
}

/** CommonJS packages come as the default of a module. */
const unwrap = (module: unknown): unknown => (module as { default?: unknown }).default ?? module;
