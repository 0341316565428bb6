// The most memory that this process ever had.
import { existsSync, readFileSync } from "node:fs";

const STATUS = "/proc/self/status";

/** In bytes. On Linux not by `maxRSS`, which begins at what the process that started this one had. */
export function peakMemory(): number {
  const kibibytes = existsSync(STATUS) ? /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(STATUS, "utf8"))?.[1] : undefined;
  return 1024 * (kibibytes === undefined ? process.resourceUsage().maxRSS : Number(kibibytes));
}
