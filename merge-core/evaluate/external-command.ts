// A user's program that measures a model: run under a time limit, killed with its children, its answer read from what it prints. Node only.
import { spawn } from "node:child_process";
import { type Diagnostic, throwIfCancelled, WeightsmithError } from "../diagnostics.ts";

/** A program with its arguments, or a line for the shell. Only a line goes through a shell. */
export type CommandLine = string | readonly string[];

export interface CommandOptions {
  readonly timeoutSeconds: number;
  /** What `{model}` in the command stands for; also in the environment as WEIGHTSMITH_MODEL. */
  readonly model: string;
  readonly signal?: AbortSignal;
}

/** Programs may log at length; only the end matters. */
const MAX_TAIL_CHARACTERS = 64_000;
/** Timers take longer times, some 25 days, for none at all. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Runs a command and returns the end of what it wrote to stdout.
 * @throws WeightsmithError `evaluator-missing`, `evaluator-timeout`, `evaluator-failed`, `cancelled`
 */
export async function runCommand(command: CommandLine, options: CommandOptions): Promise<string> {
  const { status, out, err } = await runToEnd(command, options);
  if (status !== 0) throw failure("evaluator-failed", "the evaluator failed", command, `exit ${status}`, err || out);
  return out;
}

interface Ended {
  /** Exit status, or the signal that ended it. */
  readonly status: number | string;
  /** The ends of what it wrote. */
  readonly out: string;
  readonly err: string;
}

async function runToEnd(command: CommandLine, options: CommandOptions): Promise<Ended> {
  throwIfCancelled(options.signal);
  const [file, args, shell] = commandParts(command, options.model);
  const env = { ...process.env, WEIGHTSMITH_MODEL: options.model };
  // A group of its own, so that children of the command end with it.
  const child = spawn(file, args, { shell, env, stdio: ["ignore", "pipe", "pipe"], detached: process.platform !== "win32", windowsHide: true });
  const out = collectTail(child.stdout);
  const err = collectTail(child.stderr);
  let stopped: "timeout" | "cancel" | undefined;
  const stop = (reason: "timeout" | "cancel") => {
    stopped ??= reason;
    killGroup(child.pid);
  };
  const onAbort = () => stop("cancel");
  const timer = setTimeout(() => stop("timeout"), Math.min(options.timeoutSeconds * 1000, LONGEST_TIMER_MS));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const status = await new Promise<number | string>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve(code ?? signal ?? "no status"));
    });
    throwIfCancelled(options.signal);
    if (stopped === "timeout")
      throw failure("evaluator-timeout", "the evaluator did not finish in time", command, `no end after ${options.timeoutSeconds} s`, err());
    return { status, out: out(), err: err() };
  } catch (error) {
    if (error instanceof WeightsmithError) throw error;
    throw failure("evaluator-missing", "the evaluator cannot be started", command, error instanceof Error ? error.message : String(error), "");
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
  }
}

/** The number that a command prints: its last line that is not blank, and nothing else on it. @throws as `runCommand`, and `evaluator-no-number` */
export async function measureByCommand(command: CommandLine, options: CommandOptions): Promise<number> {
  const output = await runCommand(command, options);
  const last = output.trim().split("\n").at(-1)?.trim() ?? "";
  const value = last === "" ? Number.NaN : Number(last);
  if (Number.isFinite(value)) return value;
  throw failure("evaluator-no-number", "the evaluator's last line is not a number", command, last.slice(0, 200) || "nothing", "");
}

/** What a shell exits with where there is no such program, or it may not be run. */
const NOT_RUN = [126, 127];

/** The exit status of a command, for programs whose verdict it is. @throws as `runCommand` */
export async function measureByStatus(command: CommandLine, options: CommandOptions): Promise<number> {
  const { status, out, err } = await runToEnd(command, options);
  if (typeof status === "number" && !NOT_RUN.includes(status)) return status;
  throw failure("evaluator-failed", "the evaluator did not run to its end", command, `exit ${status}`, err || out);
}

function commandParts(command: CommandLine, model: string): [file: string, args: string[], shell: boolean] {
  if (typeof command === "string") return [command.replaceAll("{model}", shellQuote(model)), [], true];
  const [file = "", ...args] = command.map((part) => part.replaceAll("{model}", model));
  return [file, args, false];
}

const shellQuote = (text: string): string => (process.platform === "win32" ? `"${text}"` : `'${text.replaceAll("'", "'\\''")}'`);

function collectTail(stream: NodeJS.ReadableStream): () => string {
  let text = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    text = (text + chunk).slice(-MAX_TAIL_CHARACTERS);
  });
  return () => text;
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(process.platform === "win32" ? pid : -pid, "SIGKILL");
  } catch {
    // It ended by itself in the meantime.
  }
}

function failure(code: string, message: string, command: CommandLine, found: string, log: string): WeightsmithError {
  const notes = log.trim() === "" ? {} : { notes: log.trim().split("\n").slice(-10) };
  const shown = typeof command === "string" ? command : command.join(" ");
  const diagnostic: Diagnostic = { code, severity: "error", message: `${message}: ${shown}`, found, remedy: "run it by hand to see more", ...notes };
  return new WeightsmithError(diagnostic, { exitCode: 1 });
}
