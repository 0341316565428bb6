// The editor of pareto.json: shows a search's result, follows the file while the search goes on, and starts the work that a
// point asks for.
import { basename, dirname, relative } from "node:path";
import * as vscode from "vscode";
import type { ParetoMethods, ParetoState } from "../../webviews/protocol.ts";
import { type CommandContext, type Run, uriOf } from "../commands/context.ts";
import { saveExport } from "../panels/export-file.ts";
import { diagnosticsOf, type PageChannel, servePage } from "../panels/page-channel.ts";
import { loadPage } from "../panels/page-html.ts";
import { evaluatePoint, readFront, recipeAt, writeMerge } from "./front-work.ts";

export const PARETO_EDITOR = "weightsmith.pareto";

/** A search that writes often is shown this often. */
const SETTLE_MS = 300;

class ParetoDocument implements vscode.CustomDocument {
  readonly uri: vscode.Uri;
  readonly pages = new Set<PageChannel>();
  readonly #subscriptions: vscode.Disposable[] = [];
  readonly #context: CommandContext;
  #state: ParetoState | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(uri: vscode.Uri, context: CommandContext) {
    this.uri = uri;
    this.#context = context;
    const watcher = vscode.workspace.createFileSystemWatcher(new vscode.RelativePattern(vscode.Uri.joinPath(uri, ".."), basename(uri.path)));
    const soon = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.load(), SETTLE_MS);
    };
    // A search replaces the file: to a watcher that is a deletion and a creation.
    this.#subscriptions.push(watcher, watcher.onDidChange(soon), watcher.onDidCreate(soon), watcher.onDidDelete(soon), context.jobs.onDidEnd(soon));
  }

  get state(): ParetoState | undefined {
    return this.#state;
  }

  async load(): Promise<void> {
    this.#state = await this.#read();
    for (const page of this.pages) page.push();
  }

  async #read(): Promise<ParetoState> {
    const { fsPath } = this.uri;
    try {
      const file = await readFront(fsPath);
      const running = this.#context.jobs.running.some(({ record }) => record.verb === "pareto" && record.output === dirname(fsPath));
      return { kind: "front", file, name: relative(dirname(dirname(fsPath)), fsPath), running };
    } catch (error) {
      // Other programs have files of this name too.
      const remedy = vscode.l10n.t("Reopen Editor With... shows the file as text");
      const diagnostics = diagnosticsOf(error).map((diagnostic) => (diagnostic.code === "front-invalid" ? { ...diagnostic, remedy } : diagnostic));
      return { kind: "problem", path: fsPath, diagnostics };
    }
  }

  dispose(): void {
    clearTimeout(this.#timer);
    for (const subscription of this.#subscriptions) subscription.dispose();
  }
}

class ParetoEditor implements vscode.CustomReadonlyEditorProvider<ParetoDocument> {
  readonly #context: CommandContext;

  constructor(context: CommandContext) {
    this.#context = context;
  }

  async openCustomDocument(uri: vscode.Uri): Promise<ParetoDocument> {
    const document = new ParetoDocument(uri, this.#context);
    await document.load();
    return document;
  }

  resolveCustomEditor(document: ParetoDocument, panel: vscode.WebviewPanel): void {
    const { extension } = this.#context;
    const page = servePage<ParetoState, ParetoMethods>(panel.webview, () => document.state, {
      save: saveExport,
      recipeAt: (setting, signal) => recipeAt(this.#context, document.uri.fsPath, setting, signal),
      writeMerge: (setting, signal) =>
        document.state?.kind === "front" ? writeMerge(this.#context, document.uri.fsPath, document.state.file, setting, signal) : undefined,
      evaluate: async (setting) => {
        evaluatePoint(this.#context, document.uri.fsPath, setting);
        await document.load();
        return undefined;
      },
      reload: async () => {
        await document.load();
        return undefined;
      },
    });
    document.pages.add(page);
    panel.onDidDispose(() => {
      document.pages.delete(page);
      page.dispose();
    });
    loadPage(panel.webview, extension.extensionUri, "pareto", vscode.l10n.t("Trade-offs"));
  }
}

/** The editor of searches' results. */
export function registerParetoEditor(context: CommandContext): void {
  context.extension.subscriptions.push(
    vscode.window.registerCustomEditorProvider(PARETO_EDITOR, new ParetoEditor(context), { supportsMultipleEditorsPerDocument: true }),
  );
}

/** Opens a result: the given one, the only one, or a chosen one. */
export const exploreParetoFront: Run = async (_, argument) => {
  const uri = uriOf(argument) ?? (await pickFront());
  if (uri !== undefined) await vscode.commands.executeCommand("vscode.openWith", uri, PARETO_EDITOR);
};

async function pickFront(): Promise<vscode.Uri | undefined> {
  const found = await vscode.workspace.findFiles("**/{pareto.json,*.pareto.json}", "**/{node_modules,.git}/**", 200);
  const title = vscode.l10n.t("Explore Pareto Front");
  if (found.length === 0) return (await vscode.window.showOpenDialog({ title, filters: { JSON: ["json"] } }))?.[0];
  const items = found.map((uri) => ({ label: vscode.workspace.asRelativePath(uri), uri }));
  return items.length === 1 ? items[0]?.uri : (await vscode.window.showQuickPick(items, { placeHolder: vscode.l10n.t("The result of a search") }))?.uri;
}
