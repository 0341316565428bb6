// What computes models: our kernels, these with the machine's BLAS, or a device.

import type { TfjsDevice } from "../compute/providers/load-tfjs.ts";
import { type BackendOptions, initBackend } from "./backend.ts";
import { initDevice } from "./device/backend.ts";

export interface EngineOptions extends BackendOptions {
  /** In place of our kernels: every operation runs there. */
  readonly device?: TfjsDevice | undefined;
}

/** Makes it tfjs's active backend. @throws Error with the reason if the device cannot be had */
export async function initEngine({ device, ...options }: EngineOptions): Promise<void> {
  await (device === undefined ? initBackend(options) : initDevice(device));
}
