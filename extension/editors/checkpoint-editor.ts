// The read-only editor of checkpoints. Reads headers only, whatever the size of the files.
import { dirname } from "node:path";
import * as vscode from "vscode";
import type { TensorStatistics } from "../../merge-core/analysis/tensor-statistics.ts";
import { describeCheckpoint } from "../../merge-core/checkpoints/describe.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { inputError } from "../../merge-core/diagnostics.ts";
import type { InspectorMethods, InspectorState } from "../../webviews/protocol.ts";
import { runForText } from "../jobs/program.ts";
import { diagnosticsOf, type PageChannel, servePage } from "../panels/page-channel.ts";
import { loadPage } from "../panels/page-html.ts";
import { readAdapterFacts } from "./adapter-facts.ts";

export const CHECKPOINT_EDITOR = "weightsmith.checkpoint";

/** A checkpoint that is open in one or more tabs. */
class CheckpointDocument implements vscode.CustomDocument {
  readonly uri: vscode.Uri;
  state: InspectorState | undefined;
  readonly pages = new Set<PageChannel>();
  readonly #watcher: vscode.FileSystemWatcher;
  readonly #closing = new AbortController();

  constructor(uri: vscode.Uri) {
    this.uri = uri;
    this.#watcher = vscode.workspace.createFileSystemWatcher(new vscode.RelativePattern(vscode.Uri.joinPath(uri, ".."), "*"));
    const name = uri.path.split("/").at(-1);
    const onChange = (changed: vscode.Uri) => {
      if (changed.path.endsWith(`/${name}`)) void this.load();
    };
    this.#watcher.onDidChange(onChange);
    this.#watcher.onDidCreate(onChange);
    this.#watcher.onDidDelete(onChange);
  }

  async load(): Promise<void> {
    this.state = await readState(this.uri, this.#closing.signal);
    for (const page of this.pages) page.push();
  }

  dispose(): void {
    this.#closing.abort();
    this.#watcher.dispose();
  }
}

/** The headers, or the diagnostic that says why there are none. */
export async function readState(uri: vscode.Uri, signal: AbortSignal): Promise<InspectorState> {
  try {
    if (uri.scheme !== "file")
      throw inputError("file-not-local", "checkpoints are read in place, which this kind of folder does not allow", {
        file: uri.toString(),
        found: `${uri.scheme}:`,
        expected: "a file on the machine that the extension runs on",
      });
    const checkpoint = await openCheckpoint(uri.fsPath, { signal });
    const adapter = await readAdapterFacts(checkpoint, signal);
    return { kind: "checkpoint", summary: describeCheckpoint(checkpoint), ...(adapter && { adapter }) };
  } catch (error) {
    return { kind: "problem", path: uri.fsPath, diagnostics: diagnosticsOf(error) };
  }
}

class CheckpointEditor implements vscode.CustomReadonlyEditorProvider<CheckpointDocument> {
  readonly #extension: vscode.ExtensionContext;

  constructor(extension: vscode.ExtensionContext) {
    this.#extension = extension;
  }

  async openCustomDocument(uri: vscode.Uri): Promise<CheckpointDocument> {
    const document = new CheckpointDocument(uri);
    await document.load();
    return document;
  }

  resolveCustomEditor(document: CheckpointDocument, panel: vscode.WebviewPanel): void {
    const page = servePage<InspectorState, InspectorMethods>(panel.webview, () => document.state, {
      copy: async (text) => vscode.env.clipboard.writeText(text).then(() => undefined),
      measure: (name, signal) => measure(this.#extension.extensionPath, document.uri.fsPath, name, signal),
      compare: async () => {
        await vscode.commands.executeCommand("weightsmith.compareModels", document.uri);
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
    // A hidden page is destroyed and made anew; it says ready again and gets the state.
    loadPage(panel.webview, this.#extension.extensionUri, "inspector", "Checkpoint");
  }
}

/** Values are read by a process of their own; this one gets the numbers. */
async function measure(extensionPath: string, path: string, name: string, signal: AbortSignal): Promise<TensorStatistics> {
  const text = await runForText(extensionPath, ["inspect", path, `--tensor=${name}`, "--json"], { cwd: dirname(path), signal });
  return JSON.parse(text) as TensorStatistics;
}

/** The read-only editor of tensor files. */
export function registerCheckpointEditor(context: vscode.ExtensionContext): void {
  context.subscriptions.push(
    vscode.window.registerCustomEditorProvider(CHECKPOINT_EDITOR, new CheckpointEditor(context), { supportsMultipleEditorsPerDocument: true }),
  );
}
