// The sample models, copied to where they can be changed.
import { cp } from "node:fs/promises";
import { join } from "node:path";
import * as vscode from "vscode";
import { isAllowed, type Run } from "./context.ts";
import { askOutput } from "./output-folder.ts";

export const openZoo: Run = async ({ extension, library }) => {
  if (!isAllowed()) return;
  const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file")?.uri.fsPath;
  if (folder === undefined) {
    void vscode.window.showInformationMessage(vscode.l10n.t("Open a folder first: the sample models are copied into it."));
    return;
  }
  const target = await askOutput(folder, "zoo");
  if (target === undefined) return;
  await cp(join(extension.extensionPath, "media", "zoo"), target.path, { recursive: true });
  library.refresh();
  await vscode.commands.executeCommand("weightsmith.models.focus");
  await vscode.window.showTextDocument(vscode.Uri.file(join(target.path, "recipes", "ties.yml")));
};
