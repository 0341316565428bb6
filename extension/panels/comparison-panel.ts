// The similarity page in a panel. What it shows is kept in a file, so that it comes back after a reload of the window.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as vscode from "vscode";
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import { inputError } from "../../merge-core/diagnostics.ts";
import { methods } from "../../merge-core/methods/registry.ts";
import type { ComparisonMethods, ComparisonState, RecipeChange } from "../../webviews/protocol.ts";
import { runReport } from "../commands/report.ts";
import { addOverride } from "../recipes/add-override.ts";
import { storageOf } from "../storage.ts";
import { saveExport } from "./export-file.ts";
import { measureSpectra, measureSubspaces } from "./measure-spectra.ts";
import { servePage } from "./page-channel.ts";
import { loadPage } from "./page-html.ts";

const VIEW_TYPE = "weightsmith.comparison";

interface Kept {
  readonly title: string;
  /** The recipe that was compared, if it was one. */
  readonly recipe?: string | undefined;
  readonly comparison: Comparison;
}

const folderOf = (extension: vscode.ExtensionContext): vscode.Uri => vscode.Uri.file(join(storageOf(extension), "comparisons"));

/** Opens a panel for what `weightsmith compare --json` printed. */
export async function showComparison(
  extension: vscode.ExtensionContext,
  title: string,
  json: string,
  recipe: string | undefined,
  column: vscode.ViewColumn = vscode.ViewColumn.Active,
): Promise<void> {
  const kept: Kept = { title, recipe, comparison: JSON.parse(json) as Comparison };
  const key = await keep(extension, kept);
  const panel = vscode.window.createWebviewPanel(
    VIEW_TYPE,
    title,
    { viewColumn: column, preserveFocus: column === vscode.ViewColumn.Beside },
    { enableFindWidget: true },
  );
  serve(extension, panel, key, kept);
}

/** Writes what a page shows; gives the key that it is found by. */
async function keep(extension: vscode.ExtensionContext, kept: Kept): Promise<string> {
  const text = JSON.stringify(kept);
  const key = createHash("sha256").update(text).digest("hex").slice(0, 32);
  await vscode.workspace.fs.writeFile(vscode.Uri.joinPath(folderOf(extension), `${key}.json`), Buffer.from(text));
  return key;
}

function serve(extension: vscode.ExtensionContext, panel: vscode.WebviewPanel, first: string, kept: Kept): void {
  panel.title = kept.title;
  let [key, { comparison }] = [first, kept];
  const cwd = dirname(kept.recipe ?? comparison.models[0] ?? "");
  const state = (): ComparisonState => ({ comparison, key, methods: methods.map(({ id }) => id) });
  const page = servePage<ComparisonState, ComparisonMethods>(panel.webview, state, {
    save: saveExport,
    changeRecipe: (change) => changeRecipe(change, kept.recipe),
    spectra: (tensor, signal) => measureSpectra(extension.extensionPath, comparison, tensor, { cwd, signal }),
    subspaces: async () => {
      const doing = vscode.l10n.t("Measuring the subspaces of {0}", kept.title);
      comparison = await measureSubspaces(comparison, (args) => runReport({ extension }, { doing, args, cwd }));
      key = await keep(extension, { ...kept, comparison });
      page.push();
      return undefined;
    },
  });
  panel.onDidDispose(() => page.dispose());
  loadPage(panel.webview, extension.extensionUri, "comparison", kept.title);
}

/** Brings panels of a former window back. */
export function registerComparisonPanels(extension: vscode.ExtensionContext): void {
  extension.subscriptions.push(
    vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, {
      async deserializeWebviewPanel(panel, state: unknown) {
        const key = typeof state === "object" && state !== null && "key" in state ? String(state.key) : "";
        try {
          if (!/^[0-9a-f]{32}$/.test(key)) throw new Error("no key");
          const text = await readFile(vscode.Uri.joinPath(folderOf(extension), `${key}.json`).fsPath, "utf8");
          serve(extension, panel, key, JSON.parse(text) as Kept);
        } catch {
          panel.dispose();
        }
      },
    }),
  );
}

/** Writes the change into the compared recipe, or into the one that is open, as an edit that can be undone. */
async function changeRecipe(change: RecipeChange, known: string | undefined): Promise<string | undefined> {
  const uri = known === undefined ? await pickRecipe() : vscode.Uri.file(known);
  if (uri === undefined) return undefined;
  const document = await vscode.workspace.openTextDocument(uri);
  const { offset, text } = addOverride(document.getText(), change);
  const edit = new vscode.WorkspaceEdit();
  edit.insert(uri, document.positionAt(offset), text);
  await vscode.workspace.applyEdit(edit);
  await vscode.window.showTextDocument(document, { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true, preview: false });
  return vscode.workspace.asRelativePath(uri);
}

/** An open recipe, the only one or a chosen one; with none open one of the workspace. */
async function pickRecipe(): Promise<vscode.Uri | undefined> {
  const tabs = vscode.window.tabGroups.all.flatMap(({ tabs: all }) => all.flatMap(({ input }) => (input instanceof vscode.TabInputText ? input.uri : [])));
  const open = tabs.filter(({ path }) => /\.ya?ml$/i.test(path));
  const found = open.length > 0 ? open : await vscode.workspace.findFiles("**/*.merge.{yml,yaml}", "**/{node_modules,.git}/**", 100);
  if (found.length === 0) throw inputError("recipe-edit", "there is no recipe to write this into", { remedy: "open a recipe and try again" });
  if (found.length === 1) return found[0];
  const items = [...new Map(found.map((uri) => [uri.toString(), { label: vscode.workspace.asRelativePath(uri), uri }])).values()];
  return items.length === 1 ? items[0]?.uri : (await vscode.window.showQuickPick(items, { placeHolder: vscode.l10n.t("The recipe to change") }))?.uri;
}
