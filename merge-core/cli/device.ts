// --device: what computes whole matrices. The built-in engine unless told otherwise, for its bytes are the same everywhere.
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { type Blas, loadBlas } from "../compute/providers/blas.ts";
import { blasEngine } from "../compute/providers/engines.ts";
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
  choices: ["cpu", "blas", "auto"],
  doc: "what computes whole matrices: cpu gives the same bytes on every machine (default), blas is this machine's own library, auto the faster one",
};

/** The library to use, or undefined for the built-in engine; says on stderr what was chosen and why. @throws WeightsmithError `device-unusable` */
export async function chooseDevice(args: Arguments, plans: readonly Pick<MergePlan, "jobs">[], { output, signal }: CommandContext): Promise<Blas | undefined> {
  const device = text(args, "device") ?? "cpu";
  if (device === "cpu") return undefined;
  if (!plans.some(hasMatrices)) {
    output.note("device: cpu, since no method of this recipe works on whole matrices and reading and writing take longer than arithmetic");
    return undefined;
  }
  // A library may crash: it is tried in a process of its own first.
  const report = await probeEngine(blasEngine(threads(args)), { from: dirname(fileURLToPath(import.meta.url)), signal });
  if (report.status !== "works") return refuse(device, report, output);
  if (device === "auto") {
    const figure = (await measureCpu(threads(args))) ?? 0;
    const faster = (report.figure ?? 0) > figure;
    output.note(`device: ${faster ? "blas" : "cpu"}, since blas does ${rounded(report.figure)} and cpu ${rounded(figure)} in matrix products`);
    if (!faster) return undefined;
  } else output.note(`device: blas, as asked: ${report.version}, ${rounded(report.figure)}`);
  return loadBlas(threads(args));
}

const rounded = (figure = 0): string => `${Math.round(figure)} ${FIGURE_UNIT}`;

function refuse(device: string, { reason, install }: EngineReport, output: CommandContext["output"]): undefined {
  if (device === "blas")
    throw inputError("device-unusable", "the machine's linear algebra cannot be used", {
      ...(reason === undefined ? {} : { found: reason }),
      remedy: `${install === undefined ? "" : `${install}, or `}use --device auto`,
    });
  output.note(`device: cpu, since blas is not usable: ${reason ?? "it failed"}`);
  return undefined;
}
