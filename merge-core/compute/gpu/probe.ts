// A program of its own: prints what the GPU is and how fast merges multiply on it, as compute/providers/probe.ts reads it.
import { FIGURE_UNIT } from "../providers/measure.ts";
import { attempt, openGpu, webgpuVersion } from "./device.ts";
import { DeviceSpace } from "./products.ts";

const RIGHT = [7, 10, 15, 22];
/** A device is as fast as it is on what takes it a while: the side grows until then. */
const [FIRST_SIDE, LAST_SIDE] = [256, 4096];
const ENOUGH_SECONDS = 0.02;

const gpu = await openGpu();
const space = new DeviceSpace(gpu);
const [a, c] = [await space.make(2, 2, Float32Array.of(1, 2, 3, 4)), await space.make(2, 2)];
await space.multiply({ matrix: a }, { matrix: a }, c);
const values = await attempt("the GPU failed", () => space.read(c));
if (RIGHT.some((right, i) => Math.abs(right - (values[i] as number)) > 1e-4)) throw new Error(`wrong product: ${values.join(", ")}`);
let side = FIRST_SIDE;
let seconds = await space.seconds(side);
while (seconds < ENOUGH_SECONDS && side < LAST_SIDE) {
  side *= 2;
  seconds = await space.seconds(side);
}
const figure = (2 * side ** 3) / seconds / 1e9;
console.log(JSON.stringify({ version: webgpuVersion(), device: gpu.name, figure, unit: FIGURE_UNIT, memoryBytes: gpu.device.limits.maxBufferSize }));
process.exit(0);
