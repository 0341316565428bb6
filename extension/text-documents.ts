// Reports as read-only text: plans, engines.
import * as vscode from "vscode";

const SCHEME = "weightsmith-text";

/** Registers the documents and gives the function that shows one. The same title shows in the same tab, with the newest text. */
export function registerTextDocuments(context: vscode.ExtensionContext): (title: string, text: string) => Promise<void> {
  const texts = new Map<string, string>();
  const changed = new vscode.EventEmitter<vscode.Uri>();
  context.subscriptions.push(
    changed,
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, {
      onDidChange: changed.event,
      provideTextDocumentContent: (uri) => texts.get(uri.path) ?? vscode.l10n.t("This text was made in a former window. Run the command again."),
    }),
  );
  return async (title, text) => {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${title}.txt` });
    texts.set(uri.path, text);
    changed.fire(uri);
    await vscode.window.showTextDocument(uri, { preview: false });
  };
}
