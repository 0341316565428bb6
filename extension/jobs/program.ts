// How the command line is started from here: the bundle beside the extension's own, on the host's Node.
import { type SpawnOptions, spawn } from "node:child_process";
import { join } from "node:path";
import { cancelledError, inputError } from "../../merge-core/diagnostics.ts";

/** In a desktop editor the host's executable is Electron, which this makes behave as Node. */
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, ELECTRON_RUN_AS_NODE: "1" });

/** Arguments of `spawn` for a command line. */
export function commandLine(extensionPath: string, args: readonly string[], options: SpawnOptions): [string, string[], SpawnOptions] {
  return [process.execPath, [join(extensionPath, "dist", "weightsmith.js"), ...args], { ...options, env: environment() }];
}

/**
 * Runs a short command to its end and gives its stdout.
 * @throws WeightsmithError `command-failed` with what it said on stderr, `cancelled`
 */
export async function runForText(extensionPath: string, args: readonly string[], options: { cwd: string; signal: AbortSignal }): Promise<string> {
  const child = spawn(...commandLine(extensionPath, args, { cwd: options.cwd, stdio: ["ignore", "pipe", "pipe"] }));
  const chunks = { out: [] as Buffer[], err: [] as Buffer[] };
  child.stdout?.on("data", (chunk: Buffer) => void chunks.out.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => void chunks.err.push(chunk));
  const stop = () => void child.kill("SIGINT");
  options.signal.addEventListener("abort", stop, { once: true });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  options.signal.removeEventListener("abort", stop);
  if (options.signal.aborted) throw cancelledError();
  if (status === 0) return Buffer.concat(chunks.out).toString("utf8");
  throw inputError("command-failed", `weightsmith ${args[0]} failed`, { found: Buffer.concat(chunks.err).toString("utf8").trim() || `exit status ${status}` });
}
