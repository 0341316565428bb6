// A short command of the program, run with a notification that can cancel it.
import * as vscode from "vscode";
import { runForText } from "../jobs/program.ts";
import type { CommandContext } from "./context.ts";

export interface Report {
  /** What the notification says while it runs. */
  readonly doing: string;
  readonly args: readonly string[];
  readonly cwd: string;
}

/** What the command prints. */
export async function runReport({ extension }: CommandContext, { doing, args, cwd }: Report): Promise<string> {
  return vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: doing, cancellable: true }, (_, token) => {
    const controller = new AbortController();
    token.onCancellationRequested(() => controller.abort());
    return runForText(extension.extensionPath, args, { cwd, signal: controller.signal });
  });
}

/** Shows what the command prints as a read-only document. */
export async function showReport(context: CommandContext, title: string, report: Report): Promise<void> {
  await context.showText(title, await runReport(context, report));
}
