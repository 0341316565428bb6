// A GPU through Dawn (the package `webgpu`), which is loaded only when asked for. Everything that can go wrong with a device ends in
// a GpuFailure, after which the caller goes on without it.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findPackage, importPackage } from "../providers/find-package.ts";

/** The GPU cannot be had, is gone, or is out of memory. What was asked of it was not done. */
export class GpuFailure extends Error {
  override readonly name = "GpuFailure";
}

export interface Gpu {
  readonly device: GPUDevice;
  /** As drivers tell it. */
  readonly name: string;
  /** Bytes of the largest buffer that a shader can see. */
  readonly maxBytes: number;
  readonly close: () => void;
}

/** What is used of the package. */
interface WebgpuPackage {
  create(options: string[]): GPU;
  readonly globals: object;
}

export interface GpuOptions {
  /** Dawn's options, such as `backend=null`, which checks shaders and computes nothing. */
  readonly flags?: readonly string[];
  /** Bytes of all buffers together; what is beyond is refused as a full device refuses it. */
  readonly memoryBytes?: number;
  /** The package, or a substitute. */
  readonly load?: () => Promise<WebgpuPackage>;
}

/** Buffer usages and map modes, as the standard numbers them. */
export const USAGE = { mapRead: 1, mapWrite: 2, copyFrom: 4, copyTo: 8, storage: 128 } as const;
export const MAP = { read: 1, write: 2 } as const;
/** The most workgroups along one dimension of a dispatch that every device takes. */
export const MAX_GROUPS = 65535;
/** For products of float16 factors and for those in which neighbours share what they read, where there are any. */
const WANTED: readonly GPUFeatureName[] = ["shader-f16", "subgroups"];

/**
 * Objects that `create()` made. If one is collected as garbage while a device of it lives, the process crashes at some later time, so
 * they are held until the end.
 */
const alive: unknown[] = [];

export function holdForever(...objects: readonly unknown[]): void {
  alive.push(...objects);
}

/** Opens the first adapter. @throws GpuFailure */
export async function openGpu({ flags = [], memoryBytes, load = loadWebgpu }: GpuOptions = {}): Promise<Gpu> {
  const { create, globals } = await load().catch((cause) => fail("the package webgpu cannot be loaded", cause));
  const gpu = await attempt("the GPU cannot be reached", async () => create([...flags]));
  holdForever(gpu, globals);
  const adapter = await attempt("the GPU cannot be reached", () => gpu.requestAdapter({ powerPreference: "high-performance" }));
  if (adapter === null) throw new GpuFailure("no GPU adapter found; is a Vulkan, Metal or D3D12 driver installed?");
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const device = await attempt("the GPU gave no device", () =>
    adapter.requestDevice({
      requiredFeatures: WANTED.filter((feature) => adapter.features.has(feature)),
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
    }),
  );
  holdForever(device);
  if (memoryBytes !== undefined) limitMemory(device, memoryBytes);
  // Errors are met where they matter: in error scopes and by what waits for a result.
  device.addEventListener("uncapturederror", (event) => event.preventDefault());
  return { device, name: nameOf(adapter.info), maxBytes: Math.min(maxBufferSize, maxStorageBufferBindingSize), close: () => device.destroy() };
}

/** Buffers count until they are destroyed. */
function limitMemory(device: GPUDevice, limit: number): void {
  let used = 0;
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    if (used + descriptor.size > limit) throw new RangeError(`no room for ${descriptor.size} bytes beside ${used} of ${limit}`);
    const buffer = create(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    used += descriptor.size;
    let counted = descriptor.size;
    buffer.destroy = () => {
      used -= counted;
      counted = 0;
      return destroy();
    };
    return buffer;
  };
}

/** The card, where a driver tells it, and the driver. */
export const nameOf = ({ vendor, architecture, device, description }: GPUAdapterInfo): string =>
  [device, description].filter((part) => part !== "").join(", ") || architecture || vendor || "unknown device";

/** Of the package that is found. */
export function webgpuVersion(): string {
  const { version } = JSON.parse(readFileSync(join(dirname(findPackage("webgpu") ?? ""), "package.json"), "utf8")) as { readonly version: string };
  return version;
}

export const loadWebgpu = (): Promise<WebgpuPackage> => importPackage("webgpu") as Promise<WebgpuPackage>;

function fail(message: string, cause: unknown): never {
  throw new GpuFailure(`${message}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}

/** Whatever the device rejects becomes a GpuFailure. */
export async function attempt<T>(message: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    if (cause instanceof GpuFailure) throw cause;
    return fail(message, cause);
  }
}

/** Runs commands inside scopes that catch what the device would only log: a shader that is not valid, memory that is not there. */
export async function scoped<T>({ device }: Gpu, action: () => T): Promise<T> {
  device.pushErrorScope("out-of-memory");
  device.pushErrorScope("internal");
  device.pushErrorScope("validation");
  let result: T;
  const errors: (GPUError | null)[] = [];
  try {
    result = action();
  } catch (cause) {
    return fail("the GPU refused", cause);
  } finally {
    for (let i = 0; i < 3; i++) errors.push(await attempt("the GPU is lost", () => device.popErrorScope()));
  }
  const error = errors.find((found) => found !== null);
  if (error !== undefined && error !== null) throw new GpuFailure(error.message || "out of memory on the GPU");
  return result;
}

/** Sides of a two-dimensional dispatch of at least `groups` workgroups: one dimension takes only 65535. */
export function gridOf(groups: number): readonly [number, number] {
  const rows = Math.max(1, Math.ceil(groups / MAX_GROUPS));
  return [Math.ceil(groups / rows), rows];
}
