// Curves of training and of everything that runs, in one panel. It follows logs and jobs while it is open.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import * as vscode from "vscode";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import type { FollowedRun, RunSample, RunsMethods, RunsState, TrainingRun } from "../../webviews/protocol.ts";
import type { CommandContext, Run } from "../commands/context.ts";
import { uriOf } from "../commands/context.ts";
import type { Job, Jobs } from "../jobs/jobs.ts";
import { describeJob } from "../views/runs-view.ts";
import { saveExport } from "./export-file.ts";
import { type PageChannel, servePage } from "./page-channel.ts";
import { loadPage } from "./page-html.ts";
import { parseLog, thinSamples } from "./run-records.ts";

const VIEW_TYPE = "weightsmith.runs";
const LOG_FILE = "training-log.jsonl";
/** How often logs are read while something runs. */
const REFRESH_MS = 1000;
/** The newest runs are shown. */
const MOST_RUNS = 12;

/** How far each job was over time, as long as this window has looked on. */
class RunHistory {
  readonly #samples = new Map<string, RunSample[]>();

  constructor(jobs: Jobs) {
    jobs.onDidChange(() => {
      for (const job of jobs.running) this.#add(job);
    });
  }

  of(id: string): readonly RunSample[] {
    return this.#samples.get(id) ?? [];
  }

  #add({ record, progress, first }: Job): void {
    if (progress === undefined) return;
    const seconds = (Date.now() - record.startedMs) / 1000;
    const known = this.#samples.get(record.id) ?? [];
    const { done, bytesRead, values } = progress;
    // A new stage, or the same job taken up again, counts from the start.
    const before = first !== undefined && first.done <= (known.at(-1)?.done ?? 0) && done >= (known.at(-1)?.done ?? 0) ? known : [];
    if (before.at(-1)?.done === done) return;
    const sample: RunSample = { seconds, done, ...(bytesRead === undefined ? {} : { bytesRead }), ...(values === undefined ? {} : { values }) };
    this.#samples.set(record.id, thinSamples([...before, sample]));
  }
}

class RunsPanel {
  readonly #context: CommandContext;
  readonly #history: RunHistory;
  readonly #logs = new Set<string>();
  #panel: { readonly webview: vscode.WebviewPanel; readonly page: PageChannel } | undefined;
  #state: RunsState | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reading = false;

  constructor(context: CommandContext) {
    this.#context = context;
    this.#history = new RunHistory(context.jobs);
    context.jobs.onDidChange(() => this.#soon());
  }

  open(logs: readonly string[], panel?: vscode.WebviewPanel): void {
    for (const log of logs) this.#logs.add(log);
    if (this.#panel === undefined)
      this.#serve(panel ?? vscode.window.createWebviewPanel(VIEW_TYPE, vscode.l10n.t("Runs"), vscode.ViewColumn.Active, { enableFindWidget: true }));
    else this.#panel.webview.reveal();
    void this.#refresh();
  }

  #serve(webview: vscode.WebviewPanel): void {
    const page = servePage<RunsState, RunsMethods>(webview.webview, () => this.#state, {
      save: saveExport,
      addLogs: async () => {
        const chosen = await vscode.window.showOpenDialog({ canSelectMany: true, title: vscode.l10n.t("Training logs"), filters: { JSONL: ["jsonl"] } });
        if (chosen !== undefined) this.open(chosen.map(({ fsPath }) => fsPath));
        return undefined;
      },
      cancel: (id) => {
        this.#context.jobs.cancel(id);
        return undefined;
      },
    });
    this.#panel = { webview, page };
    webview.onDidDispose(() => {
      page.dispose();
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#panel = undefined;
      this.#logs.clear();
    });
    loadPage(webview.webview, this.#context.extension.extensionUri, "runs", vscode.l10n.t("Runs"));
  }

  #soon(): void {
    if (this.#panel !== undefined) this.#timer ??= setTimeout(() => void this.#refresh(), REFRESH_MS);
  }

  async #refresh(): Promise<void> {
    this.#timer = undefined;
    if (this.#reading) return;
    this.#reading = true;
    try {
      const { all } = this.#context.jobs;
      const trainings = await Promise.all(this.#logsOf(all).map(({ log, running }) => readTraining(log, running)));
      // What waits has nothing to show yet.
      const runs = all.slice(0, MOST_RUNS).flatMap((job) => (job.status === "queued" ? [] : [followed(job, job.status, this.#history.of(job.record.id))]));
      this.#state = { trainings: trainings.filter((run) => run !== undefined), runs, logs: [...this.#logs] };
      this.#panel?.page.push();
    } finally {
      this.#reading = false;
    }
    if (this.#context.jobs.running.length > 0) this.#soon();
  }

  /** Logs opened by hand and those of this workspace's training runs, which write to a folder of another name until they are done. */
  #logsOf(jobs: readonly Job[]): { log: string; running: boolean }[] {
    const own = jobs.flatMap(({ record, status }) => {
      if (record.verb !== "train" || record.output === undefined) return [];
      const log = [record.output, `${record.output}.partial`].map((folder) => join(folder, LOG_FILE)).find((file) => existsSync(file));
      return log === undefined ? [] : [{ log, running: status === "running" }];
    });
    const byHand = [...this.#logs].filter((log) => !own.some((other) => other.log === log)).map((log) => ({ log, running: false }));
    return [...new Map([...own, ...byHand].map((entry) => [entry.log, entry])).values()];
  }
}

function followed(job: Job, status: FollowedRun["status"], samples: readonly RunSample[]): FollowedRun {
  const { record, progress, diagnostics } = job;
  return {
    id: record.id,
    title: `${record.verb} ${record.title}`,
    status,
    text: describeJob(job),
    unit: progress?.unit ?? "",
    fraction: progress === undefined || progress.total === 0 ? 0 : Math.min(1, progress.done / progress.total),
    ...(progress?.detail === undefined ? {} : { detail: progress.detail }),
    ...(progress?.shard === undefined ? {} : { shard: progress.shard }),
    samples,
    diagnostics,
  };
}

async function readTraining(log: string, running: boolean): Promise<TrainingRun | undefined> {
  try {
    const records = parseLog(await readFile(log, "utf8"));
    const folder = dirname(log);
    const tensors = running ? undefined : await adapterTensors(folder);
    return { name: basename(folder).replace(/\.partial$/, ""), log, records, running, ...(tensors && { tensors }) };
  } catch {
    // A log that went away since it was listed.
    return undefined;
  }
}

/** Of an adapter; whole models are what they were before. */
async function adapterTensors(folder: string): Promise<TrainingRun["tensors"] | undefined> {
  if (!existsSync(join(folder, "adapter_config.json"))) return undefined;
  try {
    const { tensors } = await openCheckpoint(folder);
    return [...tensors.values()].map(({ name, shape }) => ({ name, shape }));
  } catch {
    return undefined;
  }
}

let panel: RunsPanel | undefined;

/** The panel of curves, brought back in a new window. */
export function registerRunsPanels(context: CommandContext): void {
  const made = new RunsPanel(context);
  panel = made;
  context.extension.subscriptions.push(
    vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, {
      deserializeWebviewPanel: async (webview, state: unknown) => {
        const logs = typeof state === "object" && state !== null && "logs" in state && Array.isArray(state.logs) ? state.logs.map(String) : [];
        made.open(logs, webview);
      },
    }),
  );
}

/** Opens the panel; a log, or a folder that holds one, is added to it. */
export const showRunCurves: Run = (_, argument) => {
  const path = uriOf(argument)?.fsPath;
  panel?.open(path === undefined ? [] : [path.endsWith(".jsonl") ? path : resolve(path, LOG_FILE)]);
};
