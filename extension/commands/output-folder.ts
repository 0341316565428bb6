// Where a result goes.
import { existsSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import * as vscode from "vscode";

export interface OutputFolder {
  readonly path: string;
  /** What is there already may be replaced; the user was asked. */
  readonly replace: boolean;
}

/** Asks for a folder relative to `folder`; undefined if the user thinks better of it. */
export async function askOutput(folder: string, suggestion: string): Promise<OutputFolder | undefined> {
  const answer = await vscode.window.showInputBox({
    ignoreFocusOut: true,
    title: vscode.l10n.t("Output folder"),
    prompt: vscode.l10n.t("Relative to {0}", folder),
    value: suggestion,
    validateInput: (text) => (text.trim() === "" || resolve(folder, text) === folder ? vscode.l10n.t("Name a folder of its own for the result") : undefined),
  });
  if (answer === undefined) return undefined;
  const path = resolve(folder, answer.trim());
  if (!existsSync(path)) return { path, replace: false };
  const replace = vscode.l10n.t("Replace");
  const detail = vscode.l10n.t("What is there now is deleted when the new result is complete.");
  const said = await vscode.window.showWarningMessage(vscode.l10n.t("{0} is there already.", relative(folder, path)), { modal: true, detail }, replace);
  return said === replace ? { path, replace: true } : undefined;
}

/** The first of NAME, NAME-2, ... with this ending that is not in the folder. */
export function freeName(folder: string, name: string, ending = ""): string {
  for (let i = 1; ; i++) {
    const candidate = `${name}${i === 1 ? "" : `-${i}`}${ending}`;
    if (!existsSync(join(folder, candidate))) return candidate;
  }
}
