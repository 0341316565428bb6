// --device: what computes whole matrices. The built-in engine unless told otherwise, for its bytes are the same everywhere.
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { GpuFailure } from "../compute/gpu/device.ts";
import { type GpuEngine, openGpuEngine } from "../compute/gpu/engine.ts";
import { type Blas, loadBlas } from "../compute/providers/blas.ts";
import { blasEngine, trainingEngines, webgpuEngine } from "../compute/providers/engines.ts";
import { TFJS_DEVICES } from "../compute/providers/load-tfjs.ts";
import { FIGURE_UNIT, measureCpu } from "../compute/providers/measure.ts";
import { type EngineReport, probeEngine } from "../compute/providers/probe.ts";
import { inputError } from "../diagnostics.ts";
import { hasMatrices } from "../plan/estimate.ts";
import type { MergePlan } from "../plan/plan.ts";
import type { CommandContext } from "./command.ts";
import { type Arguments, type OptionSpec, text, threads } from "./options.ts";

export const DEVICE: OptionSpec = {
  name: "device",
  type: "string",
  value: "NAME",
  choices: ["cpu", "blas", ...TFJS_DEVICES, "auto"],
  doc: "what computes whole matrices: cpu gives the same bytes on every machine (default), blas is this machine's own library, webgpu a GPU (which then does all other merging too), tfjs-node-gpu and tfjs-node TensorFlow's libraries, auto the fastest",
};

const isTensorFlow = (device: string): device is "tfjs-node-gpu" | "tfjs-node" => device === "tfjs-node-gpu" || device === "tfjs-node";

/** What computes in place of the built-in engine; nothing if that does. */
export interface Devices {
  readonly blas?: Blas;
  /** Close it after the last merge. */
  readonly gpu?: GpuEngine;
}

/** Chooses an engine and says on stderr which and why. @throws WeightsmithError `device-unusable` */
export async function chooseDevice(args: Arguments, plans: readonly Pick<MergePlan, "jobs">[], { output, signal }: CommandContext): Promise<Devices> {
  const device = text(args, "device") ?? "cpu";
  if (device === "cpu") return {};
  const matrices = plans.some(hasMatrices);
  if (!matrices && device !== "webgpu") {
    output.note("device: cpu, since no method of this recipe works on whole matrices and reading and writing take longer than arithmetic");
    return {};
  }
  // A library or a driver may crash: it is tried in a process of its own first.
  const probe = (spec: typeof webgpuEngine) => probeEngine(spec, { from: dirname(fileURLToPath(import.meta.url)), signal });
  if (device === "webgpu") return useGpu(await probe(webgpuEngine), output, true);
  if (isTensorFlow(device)) return useGpu(await probe(trainingEngines[device]), output, true);
  const blas = await probe(blasEngine(threads(args)));
  if (device === "blas") {
    if (blas.status !== "works") return refuse(blas);
    output.note(`device: blas, as asked: ${blas.version}, ${rounded(blas.figure)}`);
    return { blas: await loadBlas(threads(args)) };
  }
  const others = [await probe(webgpuEngine), await probe(trainingEngines["tfjs-node-gpu"]), await probe(trainingEngines["tfjs-node"])];
  const chosen = fastest((await measureCpu(threads(args))) ?? 0, [blas, ...others], output);
  const found = others.find(({ id }) => id === chosen);
  if (found !== undefined) return useGpu(found, output, false);
  return chosen === "blas" ? { blas: await loadBlas(threads(args)) } : {};
}

export const rounded = (figure = 0): string => `${Math.round(figure)} ${FIGURE_UNIT}`;

/** The engine with the best measured figure, and a note that says so. */
function fastest(cpu: number, others: readonly EngineReport[], output: CommandContext["output"]): string {
  const figures = [{ id: "cpu", figure: cpu }, ...others.filter(({ status }) => status === "works").map(({ id, figure = 0 }) => ({ id, figure }))];
  const best = figures.reduce((a, b) => (b.figure > a.figure ? b : a));
  const reasons = [
    figures.length === 1 ? "" : `${figures.map(({ id, figure }) => `${id} does ${rounded(figure)}`).join(" and ")} in matrix products`,
    ...others.filter(({ status }) => status !== "works").map(({ id, reason }) => `${id} is not usable: ${reason ?? "it failed"}`),
  ];
  output.note(`device: ${best.id}, since ${reasons.filter((reason) => reason !== "").join("; ")}`);
  return best.id;
}

/** Opens the GPU; without one the merge goes on with the built-in engine, and says so. */
async function useGpu(report: EngineReport, output: CommandContext["output"], asked: boolean): Promise<Devices> {
  try {
    if (report.status !== "works") throw new GpuFailure(report.reason ?? "it failed");
    const gpu = isTensorFlow(report.id) ? await openTensorFlow(report.id) : await openGpuEngine({ elementwise: asked });
    if (asked) output.note(`device: ${gpu.name}, as asked`);
    return { gpu };
  } catch (error) {
    const remedy = report.install === undefined ? {} : { remedy: report.install };
    const message = `${report.id} cannot be used; the merge goes on with the built-in engine`;
    output.diagnostics([{ code: "device-unusable", severity: "warning", message, found: error instanceof Error ? error.message : String(error), ...remedy }]);
    return {};
  }
}

/** Loaded only where it is used: a merge on the processor starts without it. */
async function openTensorFlow(device: "tfjs-node-gpu" | "tfjs-node"): Promise<GpuEngine> {
  const { openDeviceProducts } = await import("../nn/device/products.ts");
  return openDeviceProducts(device);
}

export function refuse({ reason, install }: EngineReport): never {
  throw inputError("device-unusable", "the machine's linear algebra cannot be used", {
    ...(reason === undefined ? {} : { found: reason }),
    remedy: `${install === undefined ? "" : `${install}, or `}use --device auto`,
  });
}
