// Runs all cases in a process of its own, started with the driver's variables, and prints what came of each as JSON, a line each.
import { openGpu } from "../../../merge-core/compute/gpu/device.ts";
import { CASES, runCase } from "./cases.ts";
import { MERGES } from "./merges.ts";

const say = (line: object): void => console.log(JSON.stringify(line));
const { name, device, close } = await openGpu();
say({ device: name, features: [...device.features] });
close();
const all = { ...Object.fromEntries(Object.keys(CASES).map((name) => [name, () => runCase(name)])), ...MERGES };
for (const [name, run] of Object.entries(all)) {
  const started = performance.now();
  const error = await run().then(
    () => undefined,
    (failure: unknown) => (failure instanceof Error ? (failure.stack ?? failure.message) : String(failure)),
  );
  say({ name, seconds: (performance.now() - started) / 1000, ...(error === undefined ? {} : { error }) });
}
