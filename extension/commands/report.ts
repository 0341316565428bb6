// A short command of the program, run with a notification that can cancel it.
import * as vscode from "vscode";
import { type JobProgress, progressText } from "../jobs/job.ts";
import { runForText } from "../jobs/program.ts";
import type { CommandContext } from "./context.ts";

export interface Report {
  /** What the notification says while it runs. */
  readonly doing: string;
  readonly args: readonly string[];
  readonly cwd: string;
}

/** What the command prints. */
export async function runReport({ extension }: Pick<CommandContext, "extension">, { doing, args, cwd }: Report): Promise<string> {
  return vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: doing, cancellable: true }, (notification, token) => {
    const controller = new AbortController();
    token.onCancellationRequested(() => controller.abort());
    let first: { readonly done: number; readonly atMs: number } | undefined;
    const onProgress = (progress: JobProgress) => {
      first ??= { done: progress.done, atMs: Date.now() };
      notification.report({ message: progressText(progress, first, Date.now()) });
    };
    return runForText(extension.extensionPath, args, { cwd, signal: controller.signal, onProgress });
  });
}

/** Shows what the command prints as a read-only document. */
export async function showReport(context: CommandContext, title: string, report: Report): Promise<void> {
  await context.showText(title, await runReport(context, report));
}
