// The document of a page: nothing may load or run but its own script. Images of data are what charts become for export as PNG.
import { randomBytes } from "node:crypto";
import * as vscode from "vscode";

/** Prepares a webview for the page `name` and gives it its document. Styles are adopted by the script, so the policy names none. */
export function loadPage(webview: vscode.Webview, extensionUri: vscode.Uri, name: string, title: string): void {
  const dist = vscode.Uri.joinPath(extensionUri, "dist");
  webview.options = { enableScripts: true, localResourceRoots: [dist] };
  webview.html = pageHtml({
    title,
    script: webview.asWebviewUri(vscode.Uri.joinPath(dist, `${name}.js`)).toString(),
    nonce: randomBytes(16).toString("base64"),
  });
}

function pageHtml({ title, script, nonce }: { title: string; script: string; nonce: string }): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; script-src 'nonce-${nonce}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
</head>
<body><main id="app"></main><script nonce="${nonce}" src="${script}"></script></body>
</html>`;
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => ENTITIES[c] ?? c);
