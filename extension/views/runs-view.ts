// The tree of runs, newest first.
import * as vscode from "vscode";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { type JobStatus, progressText } from "../jobs/job.ts";
import type { Job, Jobs } from "../jobs/jobs.ts";

const ICONS: Readonly<Record<JobStatus, string>> = {
  queued: "clock",
  running: "sync~spin",
  done: "pass",
  failed: "error",
  cancelled: "circle-slash",
  died: "warning",
};

export class RunsView implements vscode.TreeDataProvider<Job> {
  readonly #jobs: Jobs;
  readonly onDidChangeTreeData: vscode.Event<void>;

  constructor(jobs: Jobs) {
    this.#jobs = jobs;
    this.onDidChangeTreeData = jobs.onDidChange;
  }

  getChildren(job?: Job): Job[] {
    return job === undefined ? [...this.#jobs.all] : [];
  }

  getTreeItem(job: Job): vscode.TreeItem {
    const item = new vscode.TreeItem(`${job.record.verb} ${job.record.title}`);
    item.id = job.record.id;
    item.description = describeJob(job);
    item.iconPath = new vscode.ThemeIcon(ICONS[job.status]);
    item.contextValue = `run-${job.status}`;
    item.tooltip = tooltip(job);
    item.accessibilityInformation = { label: `${job.record.verb} ${job.record.title}, ${describeJob(job)}` };
    return item;
  }
}

/** A run in a few words: its progress, or how it ended. */
export function describeJob({ status, progress, first, diagnostics: [cause] }: Job): string {
  const { l10n } = vscode;
  switch (status) {
    case "queued":
      return l10n.t("queued");
    case "running":
      return progress === undefined ? l10n.t("starting") : progressText(progress, first ?? { done: progress.done, atMs: Date.now() }, Date.now());
    case "done":
      return l10n.t("done");
    case "cancelled":
      return l10n.t("cancelled");
    case "failed":
      return l10n.t("failed: {0}", cause?.message ?? "");
    case "died":
      return l10n.t("died: {0}", cause?.found ?? cause?.message ?? "");
  }
}

function tooltip({ record, diagnostics }: Job): string {
  const lines = [
    `weightsmith ${record.verb} ${record.args.join(" ")}`,
    vscode.l10n.t("started {0}", new Date(record.startedMs).toLocaleString()),
    ...diagnostics.map(formatDiagnostic),
  ];
  return lines.join("\n");
}

/** In the status bar while something runs; opens the runs. */
export function showRunning(jobs: Jobs): vscode.Disposable {
  const item = vscode.window.createStatusBarItem("weightsmith.running", vscode.StatusBarAlignment.Left);
  item.name = "Weightsmith";
  item.command = "weightsmith.runs.focus";
  const update = () => {
    const [job] = jobs.running;
    if (job === undefined) return item.hide();
    const percent = job.progress === undefined || job.progress.total === 0 ? "" : ` ${Math.floor((100 * job.progress.done) / job.progress.total)} %`;
    item.text = `$(sync~spin) ${job.record.verb} ${job.record.title}${percent}`;
    item.tooltip = describeJob(job);
    item.show();
  };
  update();
  return vscode.Disposable.from(item, jobs.onDidChange(update));
}
