// Commands on models: inspect, pin, refresh.
import { statSync } from "node:fs";
import * as vscode from "vscode";
import { findModelFiles } from "../../merge-core/checkpoints/model-files.ts";
import { CHECKPOINT_EDITOR } from "../editors/checkpoint-editor.ts";
import { modelOf, pickModel, type Run, uriOf } from "./context.ts";

/** Opens a model's tensors: the file of a folder that holds them, or the file itself. */
export const inspectCheckpoint: Run = async ({ library }, argument) => {
  const path = uriOf(argument)?.fsPath ?? (await pickModel(library, vscode.l10n.t("Inspect a checkpoint"), vscode.l10n.t("Model")));
  if (path === undefined) return;
  const file = isFolder(path) ? (await findModelFiles(path)).file : path;
  await vscode.commands.executeCommand("vscode.openWith", vscode.Uri.file(file), CHECKPOINT_EDITOR);
};

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

export const togglePin: Run = async ({ library }, argument) => {
  const model = modelOf(argument);
  if (model !== undefined) await library.togglePin(model);
};

export const refreshModels: Run = ({ library }) => library.refresh();
