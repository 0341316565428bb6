// The cases of test/compute/gpu on the GPU that is here, in a process of their own.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

interface CaseLine {
  readonly name?: string;
  readonly error?: string;
}

/** Says how many cases agree with the processor, and which do not. @returns whether all do */
export function kernelSuite(say: (line: string) => void): boolean {
  const { stdout, stderr, status } = spawnSync(process.execPath, [fileURLToPath(new URL("./gpu-cases.js", import.meta.url))], { encoding: "utf8" });
  const cases = stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line): CaseLine => JSON.parse(line))
    .filter(({ name }) => name !== undefined);
  const wrong = cases.filter(({ error }) => error !== undefined);
  say(`Kernels that agree with the processor: ${cases.length - wrong.length} of ${cases.length}`);
  for (const { name, error } of wrong) say(`- ${name}: ${error?.split("\n")[0]}`);
  if (status !== 0) say(`- the suite ended with status ${status}: ${stderr.trim().split("\n").at(-1)}`);
  return wrong.length === 0 && status === 0;
}
