// Which engines work on this machine.
import { tmpdir } from "node:os";
import * as vscode from "vscode";
import { runForText } from "../jobs/program.ts";
import type { Run } from "./context.ts";

export const showEngines: Run = async ({ extension, showText }) => {
  const title = vscode.l10n.t("Trying the engines");
  const text = await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title, cancellable: true }, (_, token) => {
    const controller = new AbortController();
    token.onCancellationRequested(() => controller.abort());
    return runForText(extension.extensionPath, ["doctor"], { cwd: tmpdir(), signal: controller.signal });
  });
  await showText("engines", text);
};
