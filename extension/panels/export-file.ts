// Saving what a page exports.
import { homedir } from "node:os";
import * as vscode from "vscode";
import type { ExportedFile } from "../../webviews/protocol.ts";

/** Asks for a place and writes the file; what a page calls it is a name, not a path. */
export async function saveExport({ name, bytes }: ExportedFile): Promise<undefined> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri ?? vscode.Uri.file(homedir());
  const defaultUri = vscode.Uri.joinPath(folder, name.replaceAll(/[^\w.-]+/g, "-"));
  const uri = await vscode.window.showSaveDialog({ defaultUri, title: vscode.l10n.t("Export Chart") });
  if (uri !== undefined) await vscode.workspace.fs.writeFile(uri, bytes);
  return undefined;
}
