// A change of a merge that an output asks for, written into a merge cell of its notebook as an edit that can be undone.
import * as vscode from "vscode";
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import type { RecipeChange } from "../../webviews/protocol.ts";
import { addOverride } from "../recipes/add-override.ts";
import { kindOf, metadataOf, toEditor } from "./cells.ts";
import { mergeFor } from "./notebook-text.ts";

interface Target extends vscode.QuickPickItem {
  /** None for a new one. */
  readonly cell?: vscode.NotebookCell;
}

/**
 * Changes the only merge cell, or the one that is chosen of several, or makes one of the models that were compared.
 * @param after index of the cell that a new one follows
 * @returns a name for the cell; undefined if the user thought better of it
 * @throws WeightsmithError `recipe-edit` for a cell that is no recipe
 */
export async function changeMergeCell(
  notebook: vscode.NotebookDocument,
  change: RecipeChange,
  { comparison, after }: { readonly comparison: Comparison; readonly after: number },
): Promise<string | undefined> {
  const target = await pickTarget(notebook);
  if (target === undefined) return undefined;
  const { cell } = target;
  const edit = new vscode.WorkspaceEdit();
  if (cell === undefined) {
    const value = changed(mergeFor(comparison), change);
    edit.set(notebook.uri, [vscode.NotebookEdit.insertCells(after + 1, [toEditor({ kind: "merge", value })])]);
  } else {
    const text = cell.document.getText();
    const whole = new vscode.Range(cell.document.positionAt(0), cell.document.positionAt(text.length));
    edit.replace(cell.document.uri, whole, changed(text, change));
  }
  await vscode.workspace.applyEdit(edit);
  return cell === undefined ? vscode.l10n.t("a new cell") : vscode.l10n.t("cell {0}", target.label);
}

/** Cells have no line end after their last line. */
function changed(text: string, change: RecipeChange): string {
  const { offset, text: added } = addOverride(text, change);
  return (text.slice(0, offset) + added + text.slice(offset)).trimEnd();
}

async function pickTarget(notebook: vscode.NotebookDocument): Promise<Target | undefined> {
  const merges = notebook.getCells().flatMap((cell): Target[] => {
    const text = cell.document.getText();
    if (cell.kind !== vscode.NotebookCellKind.Code || kindOf(cell, text) !== "merge") return [];
    return [{ label: metadataOf(cell).name ?? "merge", description: /^merge_method\s*:\s*(\S+)/m.exec(text)?.[1] ?? "", cell }];
  });
  if (merges.length === 1) return merges[0];
  const fresh: Target = { label: `$(add) ${vscode.l10n.t("New merge cell")}`, description: vscode.l10n.t("of the models that were compared") };
  return vscode.window.showQuickPick([...merges, fresh], { placeHolder: vscode.l10n.t("The merge to change") });
}
