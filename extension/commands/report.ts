// A short command of the program, run with a cancellable notification, its text shown as a read-only document.
import * as vscode from "vscode";
import { runForText } from "../jobs/program.ts";
import type { CommandContext } from "./context.ts";

export interface Report {
  /** What the notification says while it runs. */
  readonly doing: string;
  /** The tab's name. */
  readonly title: string;
  readonly args: readonly string[];
  readonly cwd: string;
}

export async function showReport({ extension, showText }: CommandContext, { doing, title, args, cwd }: Report): Promise<void> {
  const text = await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: doing, cancellable: true }, (_, token) => {
    const controller = new AbortController();
    token.onCancellationRequested(() => controller.abort());
    return runForText(extension.extensionPath, args, { cwd, signal: controller.signal });
  });
  await showText(title, text);
}
