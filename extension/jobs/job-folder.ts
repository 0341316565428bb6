// A job's files: job.json, stdout and stderr in a folder of its own.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { uptime } from "node:os";
import { join } from "node:path";
import { type JobEnd, type JobExit, type JobRecord, lastLineOf } from "./job.ts";
import { commandLine } from "./program.ts";

export type JobRequest = Omit<JobRecord, "id" | "pid" | "startedMs" | "queued" | "cancelRequested">;

/** Writes a job down that is to be started later. */
export function queueJob(root: string, request: JobRequest, id: string = randomUUID()): JobRecord {
  mkdirSync(join(root, id), { recursive: true });
  for (const name of ["stdout", "stderr"]) writeFileSync(join(root, id, name), "");
  const record: JobRecord = { ...request, id, pid: 0, startedMs: Date.now(), queued: true };
  writeJob(root, record);
  return record;
}

/** Processes that this one started and has not seen end: how they end is about to be known. */
const CHILDREN = new Set<number>();

/** Starts a job that goes on without this process, its output going to files. */
export function startJob(root: string, extensionPath: string, request: JobRequest, id: string = randomUUID()): JobRecord {
  const folder = join(root, id);
  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, EXIT), { force: true });
  const out = openSync(join(folder, "stdout"), "w");
  const err = openSync(join(folder, "stderr"), "w");
  const child = spawn(
    ...commandLine(extensionPath, [...request.verb.split(" "), ...request.args, "--json", "--progress-json"], {
      cwd: request.cwd,
      detached: true,
      stdio: ["ignore", out, err],
    }),
  );
  child.unref();
  if (child.pid !== undefined) CHILDREN.add(child.pid);
  // Without a listener a program that cannot be started would end the host; the job then counts as died.
  child.once("error", () => undefined);
  child.once("exit", (code, signal) => {
    // Removed by then: nobody asks any more.
    if (existsSync(folder)) writeFileSync(join(folder, EXIT), JSON.stringify({ code, signal } satisfies JobExit));
    CHILDREN.delete(child.pid ?? 0);
  });
  closeSync(out);
  closeSync(err);
  const record: JobRecord = { ...request, id, pid: child.pid ?? 0, startedMs: Date.now() };
  writeJob(root, record);
  return record;
}

const EXIT = "exit.json";

/** What is known of the end of a job's process. */
export function readEnd(root: string, id: string): JobEnd {
  const lastLine = lastLineOf(readJobFile(root, id, "stderr").text.slice(-LAST_CHARACTERS));
  const bootMs = Date.now() - 1000 * uptime();
  try {
    return { exit: JSON.parse(readFileSync(join(root, id, EXIT), "utf8")) as JobExit, lastLine, bootMs };
  } catch {
    return { lastLine, bootMs };
  }
}

const LAST_CHARACTERS = 64 * 1024;

/** Keeps what is known of a job. */
export function writeJob(root: string, record: JobRecord): void {
  writeFileSync(join(root, record.id, "job.json"), JSON.stringify(record));
}

/** Jobs on disk, oldest first; a folder without a readable job.json is no job. */
export function listJobs(root: string): JobRecord[] {
  let names: string[];
  try {
    names = readdirSync(root);
  } catch {
    return [];
  }
  return names.flatMap((name) => readJob(root, name) ?? []).sort((a, b) => a.startedMs - b.startedMs);
}

/** What is kept of a job; undefined if it was removed. */
export function readJob(root: string, id: string): JobRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(root, id, "job.json"), "utf8")) as JobRecord;
  } catch {
    return undefined;
  }
}

/** Removes a job with all that it said. */
export function removeJob(root: string, id: string): void {
  rmSync(join(root, id), { recursive: true, force: true });
}

/** The text of `stdout` or `stderr` from a byte on, and where it ended. */
export function readJobFile(root: string, id: string, name: "stdout" | "stderr", from = 0): { text: string; end: number } {
  const file = openSync(join(root, id, name), "r");
  try {
    const chunks: Buffer[] = [];
    let end = from;
    for (;;) {
      const chunk = Buffer.alloc(64 * 1024);
      const read = readSync(file, chunk, 0, chunk.length, end);
      if (read === 0) return { text: Buffer.concat(chunks).toString("utf8"), end };
      chunks.push(chunk.subarray(0, read));
      end += read;
    }
  } finally {
    closeSync(file);
  }
}

/** Whether the job's process is there; a process of the same number that is something else does not count where that can be seen. */
export function isAlive({ pid, args }: JobRecord): boolean {
  if (pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch {
    return CHILDREN.has(pid);
  }
  try {
    if (readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.startsWith("Z")) return CHILDREN.has(pid);
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return args.every((arg) => words.includes(arg));
  } catch {
    return true;
  }
}
