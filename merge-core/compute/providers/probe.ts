// Finds out whether an optional engine works here by doing a real operation on it in a child process under a time limit:
// native packages fail at import, at the first operation, by a crash or by a hang, and none of these may take us down.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { NOT_INSTALLED } from "./find-package.ts";

/** An engine that may or may not be usable on this machine. */
export interface EngineSpec {
  readonly id: string;
  readonly title: string;
  /** What it would be used for. */
  readonly use: string;
  /** The one command that would install it. */
  readonly install: string;
  /** What to do instead where it is there and does not work, by what its error says. */
  readonly remedies?: readonly { readonly found: RegExp; readonly remedy: string }[];
  /**
   * An ES module run by Node. It must perform an operation, check its numbers and print one JSON line
   * `{version, device, figure, unit, memoryBytes}`, the last where it is known; whatever it throws is the reason that the engine is not usable.
   */
  readonly script: string;
}

export interface EngineReport {
  readonly id: string;
  readonly title: string;
  readonly use: string;
  readonly status: "works" | "absent" | "broken";
  readonly version?: string;
  readonly device?: string;
  /** A measured rate, in `unit`. */
  readonly figure?: number;
  readonly unit?: string;
  /** What it can use: the machine's memory, or on a GPU the largest buffer. */
  readonly memoryBytes?: number;
  /** Why it is not usable. */
  readonly reason?: string;
  /** What to do about it. */
  readonly install?: string;
}

export interface ProbeOptions {
  /** The folder of the program that would use the engine. */
  readonly from: string;
  /** The folder in which that program was started. Default: the current one. */
  readonly cwd?: string;
  readonly timeLimitMs?: number;
  readonly signal?: AbortSignal;
}

const TIME_LIMIT_MS = 20_000;
/** An engine may print a lot before it fails; the last of it is what matters. */
const KEPT_OUTPUT = 8192;

/** Tries one engine. Never throws for what the engine does. */
export async function probeEngine(spec: EngineSpec, options: ProbeOptions): Promise<EngineReport> {
  const { id, title, use, install } = spec;
  const outcome = await runScript(spec.script, options);
  const report = parseReport(outcome.out);
  if (report !== undefined) return { id, title, use, status: "works", ...report };
  const reason = outcome.failure ?? lastError(outcome.err);
  // What a package that is there does not find is another matter.
  const absent = reason.startsWith("absent:") || reason.endsWith(NOT_INSTALLED) || /^Cannot find package 'koffi'/.test(reason);
  const remedy = (absent ? undefined : spec.remedies?.find(({ found }) => found.test(reason))?.remedy) ?? install;
  return { id, title, use, status: absent ? "absent" : "broken", reason: absent ? missing(reason) : reason, install: remedy };
}

const missing = (reason: string): string => (reason.startsWith("absent:") ? reason.slice("absent:".length).trim() : "not installed");

interface Outcome {
  readonly out: string;
  readonly err: string;
  /** Set when the process did not end by itself with status 0 or 1. */
  readonly failure?: string;
}

function runScript(script: string, { from, cwd = process.cwd(), timeLimitMs = TIME_LIMIT_MS, signal }: ProbeOptions): Promise<Outcome> {
  return new Promise((resolve) => {
    // The last argument stands for the program: packages are looked for beside it.
    const args = ["--no-warnings", "--input-type=module", "--eval", script, join(from, "weightsmith.js")];
    const child = spawn(process.execPath, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    let late = false;
    const kill = () => child.kill("SIGKILL");
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, timeLimitMs);
    signal?.addEventListener("abort", kill, { once: true });
    child.stdout.on("data", (data) => {
      out = (out + data).slice(-KEPT_OUTPUT);
    });
    child.stderr.on("data", (data) => {
      err = (err + data).slice(-KEPT_OUTPUT);
    });
    child.on("error", (error) => resolve({ out, err, failure: error.message }));
    child.on("close", (code, killedBy) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", kill);
      const failure = late
        ? `no answer within ${timeLimitMs / 1000} s`
        : killedBy !== null
          ? `crashed with ${killedBy}`
          : code !== null && code > 1
            ? `ended with exit code ${code}`
            : undefined;
      resolve(failure === undefined ? { out, err } : { out: "", err, failure });
    });
  });
}

function parseReport(out: string): Pick<EngineReport, "version" | "device" | "figure" | "unit" | "memoryBytes"> | undefined {
  const line = out.trim().split("\n").at(-1) ?? "";
  try {
    const { version, device, figure, unit, memoryBytes } = JSON.parse(line);
    const memory = typeof memoryBytes === "number" ? { memoryBytes } : {};
    return { version: String(version), device: String(device), figure: Number(figure), unit: String(unit), ...memory };
  } catch {
    return undefined;
  }
}

/** The message of the error that ended the script, without its stack. */
function lastError(err: string): string {
  const lines = err.split("\n").map((line) => line.trim());
  const message =
    lines.find((line) => /^(Uncaught )?([A-Z]\w*)?(Error|Failure)\b.*:/.test(line)) ?? lines.filter((line) => line !== "" && !line.startsWith("at ")).at(-1);
  return message?.replace(/^(Uncaught )?([A-Z]\w*)?(Error|Failure)(\s\[\w+\])?:\s*/, "") ?? "ended without a result";
}
