// Jobs of this workspace: started, followed, cancelled, resumed. Those of a former window are found again on disk.
import { join } from "node:path";
import * as vscode from "vscode";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { type JobOutcome, type JobProgress, type JobRecord, outcomeOf, readStderr } from "./job.ts";
import { isAlive, type JobRequest, listJobs, readJobFile, removeJob, startJob, writeJob } from "./job-folder.ts";

const POLL_MS = 250;

export interface Job extends JobOutcome {
  readonly record: JobRecord;
  readonly progress: JobProgress | undefined;
  /** The first progress seen of this stage, for rates. */
  readonly first: { readonly done: number; readonly atMs: number } | undefined;
}

interface Followed {
  job: Job;
  stderrEnd: number;
  stderrRest: string;
}

export class Jobs implements vscode.Disposable {
  readonly #root: string;
  readonly #extensionPath: string;
  readonly #log: vscode.LogOutputChannel;
  readonly #followed = new Map<string, Followed>();
  readonly #changed = new vscode.EventEmitter<void>();
  readonly #ended = new vscode.EventEmitter<Job>();
  #timer: NodeJS.Timeout | undefined;

  readonly onDidChange = this.#changed.event;
  /** Fires once for each job that ends while this window looks on. */
  readonly onDidEnd = this.#ended.event;

  constructor(storage: string, extensionPath: string, log: vscode.LogOutputChannel) {
    this.#root = join(storage, "jobs");
    this.#extensionPath = extensionPath;
    this.#log = log;
    for (const record of listJobs(this.#root)) this.#follow(record);
    this.#poll(true);
  }

  /** Newest first. */
  get all(): readonly Job[] {
    return [...this.#followed.values()].map(({ job }) => job).sort((a, b) => b.record.startedMs - a.record.startedMs);
  }

  get running(): readonly Job[] {
    return this.all.filter(({ status }) => status === "running");
  }

  find(id: string): Job | undefined {
    return this.#followed.get(id)?.job;
  }

  /** The result document of a run that has ended. */
  resultOf(id: string): string {
    return readJobFile(this.#root, id, "stdout").text;
  }

  start(request: JobRequest, id?: string): JobRecord {
    const record = startJob(this.#root, this.#extensionPath, request, id);
    this.#log.info(`started: weightsmith ${record.verb} ${record.args.join(" ")}`);
    this.#follow(record);
    this.#poll();
    return record;
  }

  /** Asks the job to stop; it cleans up or leaves its journal, then ends. */
  cancel(id: string): void {
    const followed = this.#followed.get(id);
    if (followed?.job.status !== "running") return;
    const record = { ...followed.job.record, cancelRequested: true };
    followed.job = { ...followed.job, record };
    writeJob(this.#root, record);
    process.kill(record.pid, "SIGINT");
  }

  /** Runs the same command again in the same place; a merge goes on from its journal. */
  resume(id: string): void {
    const job = this.find(id);
    if (job === undefined || job.status === "running") return;
    const { verb, title, args, cwd, output, input } = job.record;
    this.start({ verb, title, args, cwd, ...(output && { output }), ...(input && { input }) }, id);
  }

  remove(id: string): void {
    if (this.find(id)?.status === "running") return;
    removeJob(this.#root, id);
    this.#followed.delete(id);
    this.#changed.fire();
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#changed.dispose();
    this.#ended.dispose();
  }

  #follow(record: JobRecord): void {
    this.#followed.set(record.id, { job: { record, status: "running", diagnostics: [], progress: undefined, first: undefined }, stderrEnd: 0, stderrRest: "" });
  }

  /** @param quiet for jobs that ended before this window opened */
  #poll(quiet = false): void {
    clearTimeout(this.#timer);
    for (const followed of this.#followed.values()) if (followed.job.status === "running") this.#update(followed, quiet);
    this.#changed.fire();
    this.#timer = this.running.length > 0 ? setTimeout(() => this.#poll(), POLL_MS) : undefined;
  }

  #update(followed: Followed, quiet: boolean): void {
    const { record, first } = followed.job;
    // Asked before the files are read: what a process writes before it ends is then seen.
    const alive = isAlive(record);
    const { text, end } = readJobFile(this.#root, record.id, "stderr", followed.stderrEnd);
    const { progress = followed.job.progress, lines, rest } = readStderr(followed.stderrRest + text);
    Object.assign(followed, { stderrEnd: end, stderrRest: rest });
    if (!quiet) for (const line of lines) this.#log.info(line);
    const outcome = outcomeOf(record, alive, alive ? "" : readJobFile(this.#root, record.id, "stdout").text);
    const sameStage = progress?.stage === followed.job.progress?.stage;
    followed.job = { record, ...outcome, progress, first: sameStage ? first : progress && { done: progress.done, atMs: Date.now() } };
    if (!alive && !quiet) this.#end(followed.job);
  }

  #end(job: Job): void {
    this.#log.info(`${job.status}: weightsmith ${job.record.verb} ${job.record.title}`);
    if (job.status !== "cancelled") for (const diagnostic of job.diagnostics) this.#log.error(formatDiagnostic(diagnostic));
    this.#ended.fire(job);
  }
}
