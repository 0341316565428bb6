// The editor of pareto.json: shows a search's result, follows the file while the search goes on, and starts the work that a
// point asks for.
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import * as vscode from "vscode";
import { openError } from "../../merge-core/bytes/file-source.ts";
import { inputError } from "../../merge-core/diagnostics.ts";
import { FRONT_FILE } from "../../merge-core/pareto/front-file.ts";
import { parseFront } from "../../merge-core/pareto/read-front.ts";
import type { ParetoMethods, ParetoState } from "../../webviews/protocol.ts";
import { type CommandContext, isAllowed, type Run, uriOf } from "../commands/context.ts";
import { askOutput } from "../commands/output-folder.ts";
import { runForText } from "../jobs/program.ts";
import { saveExport } from "../panels/export-file.ts";
import { diagnosticsOf, type PageChannel, servePage } from "../panels/page-channel.ts";
import { loadPage } from "../panels/page-html.ts";
import { memoryOptions, threadOptions } from "../settings.ts";

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
      const text = await readFile(fsPath, "utf8").catch((error: unknown) => {
        throw openError(fsPath, error);
      });
      const running = this.#context.jobs.running.some(({ record }) => record.verb === "pareto" && record.output === dirname(fsPath));
      return { kind: "front", file: parseFront(text, fsPath), name: relative(dirname(dirname(fsPath)), fsPath), running };
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
    const folder = dirname(document.uri.fsPath);
    const page = servePage<ParetoState, ParetoMethods>(panel.webview, () => document.state, {
      save: saveExport,
      recipeAt: (setting, signal) => recipeAt(extension.extensionPath, document.uri.fsPath, setting, signal),
      writeMerge: (setting, signal) => this.#writeMerge(document, setting, signal),
      evaluate: (setting) => this.#evaluate(document, folder, setting),
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

  /** Writes the recipe beside the search's configuration, whose paths it shares, and starts the merge. */
  async #writeMerge(document: ParetoDocument, setting: readonly number[], signal: AbortSignal): Promise<string | undefined> {
    if (!isAllowed() || document.state?.kind !== "front") return undefined;
    const recipe = await recipeAt(this.#context.extension.extensionPath, document.uri.fsPath, setting, signal);
    const { config } = document.state.file;
    const folder = dirname(config.file);
    const output = await askOutput(folder, freeName(folder, `${basename(config.file).replace(/\.ya?ml$/i, "")}-merge`));
    if (output === undefined) return undefined;
    const input = join(folder, `${basename(output.path)}.merge.yml`);
    await writeFile(input, recipe);
    const args = [input, output.path, ...memoryOptions(), ...threadOptions(), ...(output.replace ? ["--overwrite"] : [])];
    this.#context.jobs.start({ verb: "merge", title: basename(output.path), args, cwd: folder, output: output.path, input });
    await vscode.commands.executeCommand("weightsmith.runs.focus");
    return relative(folder, output.path);
  }

  async #evaluate(document: ParetoDocument, folder: string, setting: readonly number[]): Promise<undefined> {
    if (!isAllowed()) return undefined;
    checkName(document.uri.fsPath);
    const args = [folder, `--evaluate=${setting.join(",")}`, ...threadOptions()];
    this.#context.jobs.start({ verb: "pareto", title: basename(folder), args, cwd: dirname(folder), output: folder });
    await document.load();
    return undefined;
  }
}

/** The first of NAME, NAME-2, ... that is not there. */
function freeName(folder: string, name: string): string {
  for (let i = 1; ; i++) {
    const candidate = i === 1 ? name : `${name}-${i}`;
    if (!existsSync(join(folder, candidate))) return candidate;
  }
}

async function recipeAt(extensionPath: string, file: string, setting: readonly number[], signal: AbortSignal): Promise<string> {
  checkName(file);
  return runForText(extensionPath, ["pareto", dirname(file), `--recipe=${setting.join(",")}`], { cwd: dirname(file), signal });
}

/** The command line knows a search by its folder. */
function checkName(file: string): void {
  if (basename(file) === FRONT_FILE) return;
  throw inputError("front-renamed", "this file is not where its search wrote it", {
    file,
    found: basename(file),
    expected: `a folder with ${FRONT_FILE} and its trials`,
  });
}

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
