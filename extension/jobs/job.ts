// What a job is and what its files say; pure. A job is one run of the command line, whose files outlive the window that
// started it, so that a later window finds the run again.
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { formatBytes, formatDuration } from "../../merge-core/units.ts";

/** As `job.json` holds it. */
export interface JobRecord {
  readonly id: string;
  /** The subcommand, e.g. `merge`. */
  readonly verb: string;
  /** What the user sees, e.g. the recipe's name. */
  readonly title: string;
  /** Arguments after the subcommand. */
  readonly args: readonly string[];
  readonly cwd: string;
  /** The folder or file that the job makes, absolute. */
  readonly output?: string;
  /** The recipe or other file that the job was started from, absolute. */
  readonly input?: string;
  readonly startedMs: number;
  readonly pid: number;
  /** It waits for others to end; it has no process yet. */
  readonly queued?: boolean;
  readonly cancelRequested?: boolean;
}

/** How a process ended, where the window that started it was still there to see it. */
export interface JobExit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** What is known of a job's end besides what it printed. */
export interface JobEnd {
  readonly exit?: JobExit | undefined;
  /** The last line on stderr that is no progress. */
  readonly lastLine?: string | undefined;
  /** When this machine was started. */
  readonly bootMs?: number | undefined;
}

export interface JobProgress {
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  readonly unit: string;
  readonly detail?: string;
  readonly bytesRead?: number;
  readonly values?: number;
  readonly shard?: { readonly file: string; readonly number: number; readonly count: number };
}

/** `died`: the process ended without a word, as when it is killed or the machine goes down. */
export type JobStatus = "queued" | "running" | "done" | "failed" | "cancelled" | "died";

export interface JobOutcome {
  readonly status: JobStatus;
  readonly diagnostics: readonly Diagnostic[];
}

/** Whether a process ended well is read from its result on stdout, because nobody may have been there to see its exit status. */
export function outcomeOf(record: JobRecord, alive: boolean, stdout: string, end: JobEnd = {}): JobOutcome {
  if (record.queued) return { status: record.cancelRequested ? "cancelled" : "queued", diagnostics: [] };
  if (alive) return { status: "running", diagnostics: [] };
  const document = parseDocument(stdout);
  if (document === undefined)
    return { status: record.cancelRequested ? "cancelled" : "died", diagnostics: record.cancelRequested ? [] : [diedOf(record, end)] };
  const diagnostics = failureOf(document);
  if (diagnostics === undefined) return { status: "done", diagnostics: [] };
  return { status: diagnostics[0]?.code === "cancelled" ? "cancelled" : "failed", diagnostics };
}

const DIED: Diagnostic = { code: "job-died", severity: "error", message: "the run ended without a result" };
const RESUME = "resume it: it goes on from what is done";

/** Why a run ended without a word, as far as that can be told. */
function diedOf({ startedMs }: JobRecord, { exit, lastLine, bootMs = 0 }: JobEnd): Diagnostic {
  // A second of tolerance: the time since the start of a machine is told in whole seconds.
  if (bootMs > startedMs + 1000) return { ...DIED, message: "the machine was started anew while it ran", remedy: RESUME };
  if (exit?.signal === "SIGKILL")
    return { ...DIED, found: "killed (SIGKILL), as a system without memory left does", remedy: `${RESUME}, with less memory if it happens again` };
  const found = exit?.signal ? `ended by ${exit.signal}` : (lastLine ?? (exit?.code ? `exit status ${exit.code}` : undefined));
  if (found !== undefined) return { ...DIED, found, remedy: RESUME };
  return { ...DIED, remedy: "it may have run out of memory or been killed; resume it, with less memory if it happens again" };
}

function parseDocument(stdout: string): unknown {
  try {
    return stdout.trim() === "" ? undefined : JSON.parse(stdout);
  } catch {
    return undefined;
  }
}

/** The diagnostics of a document `{ok: false, diagnostics}`, undefined for any other. */
function failureOf(document: unknown): readonly Diagnostic[] | undefined {
  if (typeof document !== "object" || document === null || !("ok" in document) || document.ok !== false) return undefined;
  return "diagnostics" in document && Array.isArray(document.diagnostics) ? (document.diagnostics as Diagnostic[]) : [DIED];
}

/** The last line that is no progress record; undefined without one. */
export function lastLineOf(stderr: string): string | undefined {
  return readStderr(`${stderr}\n`).lines.at(-1);
}

/** Progress records and other lines in a piece of stderr; a piece that ends within a line gives the rest back. */
export function readStderr(piece: string): { progress: JobProgress | undefined; lines: string[]; rest: string } {
  const all = piece.split("\n");
  const rest = all.pop() ?? "";
  let progress: JobProgress | undefined;
  const lines: string[] = [];
  for (const line of all) {
    const record = line.startsWith('{"progress":') ? (parseDocument(line) as { progress: JobProgress } | undefined) : undefined;
    if (record === undefined) lines.push(line);
    else progress = record.progress;
  }
  return { progress, lines: lines.filter((line) => line !== ""), rest };
}

/** `merge 42 %, 1.2 GiB of 3.0 GiB, 12 s left`; the time left is told once there is some ground for it. */
export function progressText(progress: JobProgress, first: { readonly done: number; readonly atMs: number }, nowMs: number): string {
  const fraction = progress.total > 0 ? Math.min(1, progress.done / progress.total) : 1;
  const seconds = (nowMs - first.atMs) / 1000;
  const rate = seconds >= 2 ? (progress.done - first.done) / seconds : 0;
  const counts =
    progress.unit === "bytes" ? `${formatBytes(progress.done)} of ${formatBytes(progress.total)}` : `${progress.done} of ${progress.total} ${progress.unit}`;
  const left = rate > 0 && fraction < 1 ? `, ${formatDuration((progress.total - progress.done) / rate)} left` : "";
  return `${progress.stage} ${Math.floor(100 * fraction)} %, ${counts}${left}`;
}
