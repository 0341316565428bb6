// Jobs of this workspace: started, followed, cancelled, resumed. Those of a former window are found again on disk.
import { join } from "node:path";
import * as vscode from "vscode";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { maxJobs } from "../settings.ts";
import { type JobOutcome, type JobProgress, type JobRecord, outcomeOf, readStderr } from "./job.ts";
import { isAlive, type JobRequest, listJobs, queueJob, readEnd, readJob, readJobFile, removeJob, startJob, writeJob } from "./job-folder.ts";

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

export const isUnfinished = ({ status }: Job): boolean => status === "running" || status === "queued";

/** What a job was asked to do. */
function requestOf({ verb, title, args, cwd, output, input }: JobRecord): JobRequest {
  return { verb, title, args, cwd, ...(output && { output }), ...(input && { input }) };
}

/** Runs of this workspace: started, followed, waited for, taken up again. */
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

  /** Those that run or are to run. */
  get unfinished(): readonly Job[] {
    return this.all.filter(isUnfinished);
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

  /** Starts a job, or puts it behind those that run where no more of them may. */
  start(request: JobRequest, id?: string): JobRecord {
    const record = this.#isFull() ? queueJob(this.#root, request, id) : startJob(this.#root, this.#extensionPath, request, id);
    this.#log.info(`${record.queued ? "queued" : "started"}: weightsmith ${record.verb} ${record.args.join(" ")}`);
    this.#follow(record);
    this.#poll();
    return record;
  }

  #isFull(): boolean {
    const limit = maxJobs();
    return limit > 0 && this.running.length >= limit;
  }

  /** Starts what waits, oldest first, while there is room. */
  #startQueued(): void {
    for (const { record, status } of [...this.all].reverse()) {
      if (status !== "queued") continue;
      // Another window of this folder may have started or removed it.
      const now = readJob(this.#root, record.id);
      if (now === undefined) this.#followed.delete(record.id);
      else if (!now.queued) this.#follow(now);
      if (!now?.queued) continue;
      if (this.#isFull()) return;
      this.#follow(startJob(this.#root, this.#extensionPath, requestOf(record), record.id));
      this.#log.info(`started: weightsmith ${record.verb} ${record.args.join(" ")}`);
    }
  }

  /** Asks the job to stop; it cleans up or leaves its journal, then ends. */
  cancel(id: string): void {
    const followed = this.#followed.get(id);
    if (followed === undefined || !isUnfinished(followed.job)) return;
    const record = { ...followed.job.record, cancelRequested: true };
    followed.job = { ...followed.job, record };
    writeJob(this.#root, record);
    if (record.queued) this.#poll();
    else process.kill(record.pid, "SIGINT");
  }

  /** Runs the same command again in the same place; a merge goes on from its journal. */
  resume(id: string): void {
    const job = this.find(id);
    if (job !== undefined && !isUnfinished(job)) this.start(requestOf(job.record), id);
  }

  remove(id: string): void {
    const job = this.find(id);
    if (job?.status === "running") return;
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
    this.#followed.set(record.id, {
      job: { record, status: record.queued ? "queued" : "running", diagnostics: [], progress: undefined, first: undefined },
      stderrEnd: 0,
      stderrRest: "",
    });
  }

  /** @param quiet for jobs that ended before this window opened */
  #poll(quiet = false): void {
    clearTimeout(this.#timer);
    for (const followed of this.#followed.values()) if (isUnfinished(followed.job)) this.#update(followed, quiet);
    this.#startQueued();
    this.#changed.fire();
    this.#timer = this.unfinished.length > 0 ? setTimeout(() => this.#poll(), POLL_MS) : undefined;
  }

  #update(followed: Followed, quiet: boolean): void {
    const { record, first } = followed.job;
    // Asked before the files are read: what a process writes before it ends is then seen.
    const alive = isAlive(record);
    const { text, end } = readJobFile(this.#root, record.id, "stderr", followed.stderrEnd);
    const { progress = followed.job.progress, lines, rest } = readStderr(followed.stderrRest + text);
    Object.assign(followed, { stderrEnd: end, stderrRest: rest });
    if (!quiet) for (const line of lines) this.#log.info(line);
    const outcome = alive
      ? outcomeOf(record, alive, "")
      : outcomeOf(record, alive, readJobFile(this.#root, record.id, "stdout").text, readEnd(this.#root, record.id));
    const sameStage = progress?.stage === followed.job.progress?.stage;
    followed.job = { record, ...outcome, progress, first: sameStage ? first : progress && { done: progress.done, atMs: Date.now() } };
    if (!isUnfinished(followed.job) && !quiet) this.#end(followed.job);
  }

  #end(job: Job): void {
    this.#log.info(`${job.status}: weightsmith ${job.record.verb} ${job.record.title}`);
    if (job.status !== "cancelled") for (const diagnostic of job.diagnostics) this.#log.error(formatDiagnostic(diagnostic));
    this.#ended.fire(job);
  }
}
