// --device where models are trained or measured: our kernels, these with the machine's BLAS, or another backend of tfjs on a GPU or on
// TensorFlow's library. Whatever cannot be had or is slower leaves the work to our kernels, with a word about it.
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { type Blas, loadBlas } from "../compute/providers/blas.ts";
import { blasEngine, trainingEngines } from "../compute/providers/engines.ts";
import { TFJS_DEVICES, type TfjsDevice } from "../compute/providers/load-tfjs.ts";
import { measureCpu } from "../compute/providers/measure.ts";
import { type EngineReport, type EngineSpec, probeEngine } from "../compute/providers/probe.ts";
import { initDevice } from "../nn/device/backend.ts";
import type { CommandContext } from "./command.ts";
import { DEVICE, refuse, rounded } from "./device.ts";
import { type Arguments, type OptionSpec, text, threads } from "./options.ts";

export const TRAINING_DEVICE: OptionSpec = {
  ...DEVICE,
  choices: ["cpu", "blas", ...TFJS_DEVICES, "auto"],
  doc: "what computes models: cpu gives the same bytes on every machine (default), blas is this machine's own library, webgpu a GPU, tfjs-node-gpu and tfjs-node TensorFlow's libraries, auto the fastest that is here",
};

export interface TrainingEngine {
  /** For every thread to call. */
  readonly blas?: Blas;
  readonly device?: TfjsDevice;
}

/** On a device every operation is a message to another thread: it must multiply so many times faster to be faster in all. */
const WORTH = 2;

/** Chooses and says on stderr what and why. @throws WeightsmithError `device-unusable` */
export async function chooseTrainingEngine(args: Arguments, { output, signal }: CommandContext): Promise<TrainingEngine> {
  const asked = text(args, "device") ?? "cpu";
  if (asked === "cpu") return {};
  const probe = (spec: EngineSpec) => probeEngine(spec, { from: dirname(fileURLToPath(import.meta.url)), signal });
  const device = TFJS_DEVICES.find((name) => name === asked);
  if (device !== undefined) return useDevice(device, await probe(trainingEngines[device]), output, "as asked");
  const blas = await probe(blasEngine(threads(args)));
  if (asked === "blas") {
    if (blas.status !== "works") return refuse(blas);
    output.note(`device: blas, as asked: ${blas.version}, ${rounded(blas.figure)}`);
    return { blas: await loadBlas(1) };
  }
  const devices: [TfjsDevice, EngineReport][] = [];
  for (const name of TFJS_DEVICES) devices.push([name, await probe(trainingEngines[name])]);
  return fastest((await measureCpu(threads(args))) ?? 0, blas, devices, output);
}

async function fastest(
  cpu: number,
  blas: EngineReport,
  devices: readonly (readonly [TfjsDevice, EngineReport])[],
  output: CommandContext["output"],
): Promise<TrainingEngine> {
  const figureOf = ({ status, figure = 0 }: EngineReport) => (status === "works" ? figure : 0);
  const here = Math.max(cpu, figureOf(blas));
  const [device, report] = devices.reduce((best, one) => (figureOf(one[1]) > figureOf(best[1]) ? one : best));
  const figures = [["cpu", cpu] as const, ["blas", figureOf(blas)] as const, ...devices.map(([name, found]) => [name, figureOf(found)] as const)];
  const said = figures.filter(([, figure]) => figure > 0).map(([name, figure]) => `${name} does ${rounded(figure)}`);
  const missing = [blas, ...devices.map(([, found]) => found)]
    .filter(({ status }) => status === "broken")
    .map(({ id, reason }) => `${id} is not usable: ${reason}`);
  const why = `since ${[`${said.join(" and ")} in matrix products`, ...missing].join("; ")}`;
  if (figureOf(report) >= WORTH * here) return useDevice(device, report, output, why);
  output.note(`device: ${here > cpu ? "blas" : "cpu"}, ${why}`);
  return here > cpu ? { blas: await loadBlas(1) } : {};
}

/** Starts the device; without it our kernels do the work. */
async function useDevice(
  device: TfjsDevice,
  { status, reason, install }: EngineReport,
  output: CommandContext["output"],
  why: string,
): Promise<TrainingEngine> {
  try {
    if (status !== "works") throw new Error(reason ?? "it failed");
    const { name } = await initDevice(device);
    output.note(`device: ${name}, ${why}`);
    return { device };
  } catch (error) {
    const remedy = install === undefined ? {} : { remedy: install };
    const message = `${device} cannot be used; the built-in engine does the work`;
    output.diagnostics([{ code: "device-unusable", severity: "warning", message, found: error instanceof Error ? error.message : String(error), ...remedy }]);
    return {};
  }
}
