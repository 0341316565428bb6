// What computes models: our kernels, these with the machine's BLAS, or a device.
import { type BackendOptions, initBackend } from "./backend.ts";
import { initDevice } from "./device/backend.ts";
import type { TfjsDevice } from "./device/load-tfjs.ts";

export interface EngineOptions extends BackendOptions {
  /** In place of our kernels: every operation runs there. */
  readonly device?: TfjsDevice | undefined;
}

/** Makes it tfjs's active backend. @throws Error with the reason if the device cannot be had */
export async function initEngine({ device, ...options }: EngineOptions): Promise<void> {
  await (device === undefined ? initBackend(options) : initDevice(device));
}
