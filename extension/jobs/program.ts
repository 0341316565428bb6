// How the command line is started from here: the bundle beside the extension's own, on the host's Node.
import { type SpawnOptions, spawn } from "node:child_process";
import { join } from "node:path";
import { cancelledError, inputError } from "../../merge-core/diagnostics.ts";
import { type JobProgress, readStderr } from "./job.ts";

/** In a desktop editor the host's executable is Electron, which this makes behave as Node. */
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, ELECTRON_RUN_AS_NODE: "1" });

/** Arguments of `spawn` for a command line. */
export function commandLine(extensionPath: string, args: readonly string[], options: SpawnOptions): [string, string[], SpawnOptions] {
  return [process.execPath, [join(extensionPath, "dist", "weightsmith.js"), ...args], { ...options, env: environment() }];
}

export interface TextOptions {
  readonly cwd: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: JobProgress) => void;
}

/**
 * Runs a short command to its end and gives its stdout.
 * @throws WeightsmithError `command-failed` with what it said on stderr, `cancelled`
 */
export async function runForText(extensionPath: string, args: readonly string[], options: TextOptions): Promise<string> {
  const { cwd, signal, onProgress } = options;
  const child = spawn(...commandLine(extensionPath, [...args, ...(onProgress ? ["--progress-json"] : [])], { cwd, stdio: ["ignore", "pipe", "pipe"] }));
  const chunks: Buffer[] = [];
  const said: string[] = [];
  let rest = "";
  child.stdout?.on("data", (chunk: Buffer) => void chunks.push(chunk));
  child.stderr?.setEncoding("utf8").on("data", (piece: string) => {
    const read = readStderr(rest + piece);
    rest = read.rest;
    said.push(...read.lines);
    if (read.progress !== undefined) onProgress?.(read.progress);
  });
  const stop = () => void child.kill("SIGINT");
  signal.addEventListener("abort", stop, { once: true });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  signal.removeEventListener("abort", stop);
  if (signal.aborted) throw cancelledError();
  if (status === 0) return Buffer.concat(chunks).toString("utf8");
  throw inputError("command-failed", `weightsmith ${args[0]} failed`, { found: [...said, rest].join("\n").trim() || `exit status ${status}` });
}
