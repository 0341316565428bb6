// weightsmith doctor: which engines work here, each tried with a real operation and a measured figure.
import { availableParallelism, cpus, totalmem } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { gemm, matrix } from "../compute/gemm.ts";
import { createPool } from "../compute/pool.ts";
import { OPTIONAL_ENGINES } from "../compute/providers/engines.ts";
import { type EngineReport, probeEngine } from "../compute/providers/probe.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { VERSION } from "../version.ts";
import type { Command } from "./command.ts";
import { THREADS, threads } from "./options.ts";
import { formatBytes, formatTable } from "./output.ts";

const SIZE = 512;
const MEASURE_MS = 300;

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
    const engines: EngineReport[] = [await measureCpu(threads(args))];
    const from = dirname(fileURLToPath(import.meta.url));
    for (const engine of OPTIONAL_ENGINES) {
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
      e.use,
      e.status === "works" ? (e.device ?? "") : `${e.reason ?? ""}${e.install === undefined ? "" : `; ${e.install}`}`,
    ]);
    output.result(
      { system, engines },
      `weightsmith ${VERSION}, node ${process.version}, ${system.platform}, ${system.cores} cores, ${formatBytes(system.memoryBytes)}\n\n${formatTable(["engine", "status", "measured", "used for", ""], rows, [2])}`,
    );
  },
};

/** The built-in engine, measured like the others: a product with a known result, then a larger one against the clock. */
async function measureCpu(count: number): Promise<EngineReport> {
  const pool = createPool({ threads: count });
  const bytes = SIZE * SIZE * 4;
  const [a, c] = [pool.arena.alloc(bytes), pool.arena.alloc(bytes)];
  const values = (address: number, n: number) => new Float32Array(pool.memory.buffer, address, n);
  const square = (n: number) => gemm(pool, { rows: n, columns: n, depth: n, a: matrix(a, n, n), b: matrix(a, n, n), c: matrix(c, n, n) });
  try {
    values(a, 4).set([1, 2, 3, 4]);
    square(2);
    const works = [7, 10, 15, 22].every((expected, i) => values(c, 4)[i] === expected);
    values(a, SIZE * SIZE).fill(0.5);
    square(SIZE);
    const start = performance.now();
    let runs = 0;
    do {
      square(SIZE);
      runs++;
    } while (performance.now() - start < MEASURE_MS);
    const figure = (2 * SIZE ** 3 * runs) / (performance.now() - start) / 1e6;
    const use = "everything, by default";
    const about = { id: "cpu", title: "WebAssembly SIMD on worker threads", use };
    if (!works) return { ...about, status: "broken", reason: "wrong product" };
    return { ...about, status: "works", version: VERSION, device: `${pool.threads} threads`, figure, unit: "GFLOP/s" };
  } finally {
    await pool.close();
  }
}
