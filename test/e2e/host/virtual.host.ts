// Files that lie on no disk, as in a virtual workspace: what needs no model goes on, the rest says why it cannot.
import assert from "node:assert/strict";
import * as vscode from "vscode";
import { readState } from "../../../extension/editors/checkpoint-editor.ts";

const SCHEME = "weightsmith-memory";
const RECIPE = "merge_method: tise\nmodels:\n  - model: ./models/nowhere\n";

/** One recipe and one file of tensors, read-only. */
const files = new Map([
  ["/planted.merge.yml", Buffer.from(RECIPE)],
  ["/model.safetensors", Buffer.from("not looked at")],
]);

function contentOf(uri: vscode.Uri): Uint8Array {
  const content = files.get(uri.path);
  if (content === undefined) throw vscode.FileSystemError.FileNotFound(uri);
  return content;
}

function refuse(): never {
  throw vscode.FileSystemError.NoPermissions();
}

const provider: vscode.FileSystemProvider = {
  onDidChangeFile: new vscode.EventEmitter<vscode.FileChangeEvent[]>().event,
  watch: () => new vscode.Disposable(() => undefined),
  stat: (uri) =>
    uri.path === "/"
      ? { type: vscode.FileType.Directory, ctime: 0, mtime: 0, size: 0 }
      : { type: vscode.FileType.File, ctime: 0, mtime: 0, size: contentOf(uri).length },
  readDirectory: () => [...files.keys()].map((path) => [path.slice(1), vscode.FileType.File]),
  readFile: contentOf,
  createDirectory: refuse,
  writeFile: refuse,
  delete: refuse,
  rename: refuse,
};

describe("files that lie on no disk", () => {
  const uri = (path: string) => vscode.Uri.from({ scheme: SCHEME, path });
  let registration: vscode.Disposable;
  before(() => {
    registration = vscode.workspace.registerFileSystemProvider(SCHEME, provider, { isReadonly: true, isCaseSensitive: true });
  });
  after(() => registration.dispose());

  it("have recipes checked for what needs no model", async () => {
    const document = await vscode.workspace.openTextDocument(uri("/planted.merge.yml"));
    await vscode.window.showTextDocument(document);
    const start = performance.now();
    while (vscode.languages.getDiagnostics(document.uri).length === 0 && performance.now() - start < 10_000)
      await new Promise((resume) => setTimeout(resume, 5));
    const problems = vscode.languages.getDiagnostics(document.uri);
    // Not `model-missing`: whether the model is there cannot be known.
    assert.deepEqual(
      problems.map(({ code }) => code),
      ["unknown-method"],
    );
    assert.equal(document.getText(problems[0]?.range), "tise");
  });

  it("have their checkpoints opened as a page that says why it shows none", async () => {
    const file = uri("/model.safetensors");
    await vscode.commands.executeCommand("vscode.openWith", file, "weightsmith.checkpoint");
    const tab = vscode.window.tabGroups.activeTabGroup.activeTab;
    assert.ok(tab?.input instanceof vscode.TabInputCustom, "the checkpoint editor is open");
    assert.equal(tab.input.uri.toString(), file.toString());
    const state = await readState(file, new AbortController().signal);
    assert.equal(state.kind, "problem");
    assert.deepEqual(state.kind === "problem" && state.diagnostics.map(({ code, found }) => [code, found]), [["file-not-local", `${SCHEME}:`]]);
    await vscode.window.tabGroups.close(tab);
  });
});
