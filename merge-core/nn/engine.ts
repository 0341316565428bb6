// What computes models: our kernels, these with the machine's BLAS, or a device.
import * as tf from "@tensorflow/tfjs-core";
import type { TfjsDevice } from "../compute/providers/load-tfjs.ts";
import { type Diagnostic, WeightsmithError } from "../diagnostics.ts";
import { type BackendOptions, initBackend } from "./backend.ts";
import { initDevice } from "./device/backend.ts";

export interface EngineOptions extends BackendOptions {
  /** In place of our kernels: every operation runs there. */
  readonly device?: TfjsDevice | undefined;
}

export interface FallbackOptions extends EngineOptions {
  /** Told when a device fails and our kernels go on. */
  readonly onWarning?: ((warning: Diagnostic) => void) | undefined;
}

/** Makes it tfjs's active backend. @throws WeightsmithError `device-failed` if the device cannot be had */
export async function initEngine({ device, ...options }: EngineOptions): Promise<void> {
  if (device === undefined) return initBackend(options);
  await initDevice(device).catch((cause: unknown) => {
    const found = cause instanceof Error ? cause.message : String(cause);
    const remedy = "weightsmith doctor says what is here; or use --device cpu";
    throw new WeightsmithError({ code: "device-failed", severity: "error", message: `${device} cannot be used`, found, remedy }, { exitCode: 1, cause });
  });
}

/** Whether a device is at fault, so that our kernels can do what it did not. */
export const isDeviceFailure = (error: unknown): error is WeightsmithError => error instanceof WeightsmithError && error.code === "device-failed";

/**
 * Computes on what is asked for. Where a device fails on the way, `action` is called once more, on our kernels.
 * @param action is told what computes, and whether a device failed before
 */
export async function onEngine<T>(options: FallbackOptions, action: (engine: EngineOptions, again: boolean) => Promise<T>): Promise<T> {
  const { device, onWarning, ...builtIn } = options;
  try {
    await initEngine(options);
    return await action({ ...builtIn, device }, false);
  } catch (error) {
    if (device === undefined || !isDeviceFailure(error)) throw error;
    await initBackend(builtIn);
    // The next who asks for it gets a fresh one, or is told that there is none.
    if (tf.findBackend(device) !== null) tf.removeBackend(device);
    for (const { remedy: _, ...diagnostic } of error.diagnostics)
      onWarning?.({ ...diagnostic, severity: "warning", message: `${diagnostic.message}; the built-in engine goes on` });
    return action(builtIn, true);
  }
}
