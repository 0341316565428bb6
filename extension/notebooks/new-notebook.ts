// The command that makes a notebook.
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as vscode from "vscode";
import { pickModels, type Run } from "../commands/context.ts";
import { referenceTo } from "../recipes/recipe-models.ts";
import { NOTEBOOK_TYPE } from "./cells.ts";
import { newNotebookText } from "./notebook-text.ts";

/** Asks for models and a name, writes the file, and opens it as a notebook. */
export const newNotebook: Run = async ({ library }) => {
  const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file")?.uri.fsPath;
  if (folder === undefined) {
    void vscode.window.showInformationMessage(vscode.l10n.t("Open a folder first: the notebook is a file in it."));
    return;
  }
  const models = await pickModels(library, vscode.l10n.t("New notebook (1 of 2): models"), vscode.l10n.t("The models that the notebook is about"));
  const file = models && (await askFile(folder));
  if (models === undefined || file === undefined) return;
  const uri = vscode.Uri.file(join(folder, `${file}.merge.md`));
  const text = newNotebookText(
    file,
    models.map((path) => referenceTo(folder, path)),
  );
  await vscode.workspace.fs.writeFile(uri, Buffer.from(text));
  await vscode.commands.executeCommand("vscode.openWith", uri, NOTEBOOK_TYPE);
};

async function askFile(folder: string): Promise<string | undefined> {
  const nameOf = (text: string) => text.trim().replace(/(\.merge)?\.md$/i, "");
  const answer = await vscode.window.showInputBox({
    ignoreFocusOut: true,
    title: vscode.l10n.t("New notebook (2 of 2): name"),
    value: "notes",
    validateInput: (text) => {
      if (nameOf(text) === "" || /[\\/:*?"<>|]/.test(text)) return vscode.l10n.t("A file name");
      return existsSync(join(folder, `${nameOf(text)}.merge.md`)) ? vscode.l10n.t("This file is there already") : undefined;
    },
  });
  return answer === undefined ? undefined : nameOf(answer);
}
