// Runs a program and says what it cost. The kernel's own account of a process and its children is only reachable through wait4,
// so a few lines of Python, which are there whenever mergekit is, do the waiting for both sides.
import { spawnSync } from "node:child_process";

export interface Cost {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

const WAITER = `
import json, os, subprocess, sys, time
os.sync()
with open(sys.argv[1], "w") as log:
    start = time.monotonic()
    child = subprocess.Popen(sys.argv[2:], stdout=log, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps(dict(status=os.waitstatus_to_exitcode(status), seconds=seconds, cpuSeconds=usage.ru_utime + usage.ru_stime, peakBytes=usage.ru_maxrss * unit)))
`;

/** @throws Error with the place of the log, if the program fails */
export function measure(python: string, log: string, command: readonly string[]): Cost {
  const { stdout, stderr, status: waited } = spawnSync(python, ["-c", WAITER, log, ...command], { encoding: "utf8" });
  if (waited !== 0) throw new Error(stderr);
  const { status, ...cost } = JSON.parse(stdout) as Cost & { status: number };
  if (status !== 0) throw new Error(`${command.join(" ")} ended with ${status}; see ${log}`);
  return cost;
}

/** The version of mergekit that this Python has, if any. */
export function mergekitVersion(python: string): string | undefined {
  const { stdout, status } = spawnSync(python, ["-c", 'import importlib.metadata as m; print(m.version("mergekit"))'], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}
