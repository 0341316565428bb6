// weightsmith doctor: which engines work here, each tried with a real operation and a measured figure.
import { availableParallelism, cpus, totalmem } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { optionalEngines } from "../compute/providers/engines.ts";
import { FIGURE_UNIT, measureCpu } from "../compute/providers/measure.ts";
import { type EngineReport, probeEngine } from "../compute/providers/probe.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { VERSION } from "../version.ts";
import type { Command } from "./command.ts";
import { THREADS, threads } from "./options.ts";
import { formatBytes, formatTable } from "./output.ts";

export const doctor: Command = {
  name: "doctor",
  summary: "show which engines work here",
  usage: "",
  help: `
Tries every engine with a real operation whose result is known, times it, and says how to install those that are absent.
Optional engines run in a child process under a time limit. Merging needs none of them.

  weightsmith doctor
  weightsmith doctor --json`,
  options: [THREADS],
  async run(args, { output, signal }) {
    const count = threads(args);
    const engines: EngineReport[] = [await cpuReport(count)];
    const from = dirname(fileURLToPath(import.meta.url));
    for (const engine of optionalEngines(count)) {
      throwIfCancelled(signal);
      engines.push(await probeEngine(engine, { from, signal }));
    }
    throwIfCancelled(signal);
    const system = {
      weightsmith: VERSION,
      node: process.version,
      platform: `${process.platform} ${process.arch}`,
      processor: cpus()[0]?.model ?? "",
      cores: availableParallelism(),
      memoryBytes: totalmem(),
    };
    const rows = engines.map((e) => [
      e.id,
      e.status,
      e.figure === undefined ? "" : `${e.figure.toFixed(1)} ${e.unit}`,
      e.memoryBytes === undefined ? "" : formatBytes(e.memoryBytes),
      e.version ?? "",
      e.use,
      e.status === "works" ? (e.device ?? "") : remedy(e),
    ]);
    output.result(
      { system, engines },
      `weightsmith ${VERSION}, node ${process.version}, ${system.platform}, ${system.cores} cores, ${formatBytes(system.memoryBytes)}\n\n${formatTable(["engine", "status", "measured", "memory", "version", "used for", "device, or why not and what to do"], rows, [2, 3])}`,
    );
  },
};

async function cpuReport(count: number): Promise<EngineReport> {
  const figure = await measureCpu(count);
  const about = { id: "cpu", title: "WebAssembly SIMD on worker threads", use: "everything, by default" };
  if (figure === undefined) return { ...about, status: "broken", reason: "wrong product" };
  return { ...about, status: "works", version: VERSION, device: `${count} threads`, figure, unit: FIGURE_UNIT, memoryBytes: totalmem() };
}

const remedy = ({ reason = "", install }: EngineReport): string => (install === undefined ? reason : `${reason}; ${install}`);
