// Notebooks in the editor: their files, what runs their cells, and what each cell is said to be.
import { readFile, writeFile } from "node:fs/promises";
import * as vscode from "vscode";
import { type CellOutput, markdownTable, OUTPUT_MIME, outputTable } from "../../merge-core/notebook/cell-output.ts";
import { CELL_KINDS, CELL_NAME, type CellKind } from "../../merge-core/notebook/notebook.ts";
import { type CommandContext, isAllowed, type Run } from "../commands/context.ts";
import { diagnosticsOf } from "../panels/page-channel.ts";
import { storageOf } from "../storage.ts";
import { cellsOfDocument, kindOf, metadataOf, NOTEBOOK_TYPE, outputOfCell } from "./cells.ts";
import { outputsPath, readOutputs, writeOutputs } from "./outputs-file.ts";
import { runCell } from "./run-cell.ts";
import { notebookSerializer } from "./serializer.ts";
import { serveOutputs } from "./serve-outputs.ts";

/** What opens, runs and saves notebooks. */
export function registerNotebooks(context: CommandContext): void {
  const controller = vscode.notebooks.createNotebookController("weightsmith-cells", NOTEBOOK_TYPE, "Weightsmith");
  controller.supportedLanguages = ["yaml"];
  controller.supportsExecutionOrder = true;
  controller.executeHandler = async (cells) => {
    // In their order: a cell may use what one before it makes.
    for (const cell of cells) if (!(await execute(context, controller, cell))) return;
  };
  context.extension.subscriptions.push(
    controller,
    serveOutputs(context, (cell, output) => showOutput(controller, cell, output)),
    // Outputs are no part of the file, and so do not make it unsaved.
    vscode.workspace.registerNotebookSerializer(NOTEBOOK_TYPE, notebookSerializer, { transientOutputs: true }),
    controller.onDidChangeSelectedNotebooks(({ notebook, selected }) => void (selected && restore(controller, notebook))),
    vscode.notebooks.registerNotebookCellStatusBarItemProvider(NOTEBOOK_TYPE, { provideCellStatusBarItems: statusItem }),
  );
}

/** Whether the next cell may run. */
async function execute({ extension, jobs }: CommandContext, controller: vscode.NotebookController, cell: vscode.NotebookCell): Promise<boolean> {
  if (!isAllowed()) return false;
  const execution = controller.createNotebookCellExecution(cell);
  execution.start(Date.now());
  let told = "";
  const onProgress = (text: string) => {
    if (text === told) return;
    told = text;
    void execution.replaceOutput(new vscode.NotebookCellOutput([vscode.NotebookCellOutputItem.text(text)]));
  };
  const { notebook, index } = cell;
  const storage = storageOf(extension);
  try {
    const place = notebook.uri.scheme === "file" && !notebook.isUntitled ? notebook.uri.fsPath : await saved(notebook);
    const request = { jobs, storage, file: place, cells: cellsOfDocument(notebook), index, token: execution.token, onProgress };
    return await finish(execution, await runCell(request));
  } catch (error) {
    return finish(execution, { kind: "problem", diagnostics: diagnosticsOf(error) });
  }
}

async function finish(execution: vscode.NotebookCellExecution, output: CellOutput | undefined): Promise<boolean> {
  await (output === undefined ? execution.clearOutput() : execution.replaceOutput(outputOf(output)));
  const success = output === undefined ? undefined : output.kind !== "problem";
  execution.end(success, Date.now());
  return success === true;
}

/** Paths in cells are relative to the file, so there has to be one. */
async function saved(notebook: vscode.NotebookDocument): Promise<string> {
  const uri = await vscode.workspace.saveAs(notebook.uri);
  if (uri?.scheme === "file") return uri.fsPath;
  throw new Error(vscode.l10n.t("A notebook is run where it is saved, in a folder on a disk: paths in its cells are relative to it."));
}

/** The charts, and for editors that know nothing of them a table. */
function outputOf(output: CellOutput): vscode.NotebookCellOutput {
  return new vscode.NotebookCellOutput([
    vscode.NotebookCellOutputItem.json(output, OUTPUT_MIME),
    vscode.NotebookCellOutputItem.text(markdownTable(outputTable(output)), "text/markdown"),
  ]);
}

/** Shows what was kept of cells that have not changed since. */
async function restore(controller: vscode.NotebookController, notebook: vscode.NotebookDocument): Promise<void> {
  if (notebook.uri.scheme !== "file") return;
  const json = await readFile(outputsPath(notebook.uri.fsPath), "utf8").catch(() => "");
  const find = readOutputs(json);
  for (const cell of notebook.getCells()) {
    const output = cell.kind === vscode.NotebookCellKind.Code && cell.outputs.length === 0 ? find(cell.document.getText()) : undefined;
    if (output !== undefined) await showOutput(controller, cell, output);
  }
}

/** Only what executes a cell may change its output. */
async function showOutput(controller: vscode.NotebookController, cell: vscode.NotebookCell, output: CellOutput): Promise<void> {
  const execution = controller.createNotebookCellExecution(cell);
  execution.start();
  await execution.replaceOutput(outputOf(output));
  execution.end(undefined);
}

/** Writes the outputs that are shown beside the notebook. */
export const saveNotebookOutputs: Run = async () => {
  const notebook = activeNotebook();
  if (notebook === undefined || !isAllowed()) return;
  const kept = notebook.getCells().flatMap((cell) => {
    const output = outputOfCell(cell);
    return output === undefined ? [] : [{ text: cell.document.getText(), output }];
  });
  const path = outputsPath(notebook.uri.fsPath);
  await writeFile(path, writeOutputs(kept));
  void vscode.window.setStatusBarMessage(vscode.l10n.t("Outputs saved to {0}", vscode.workspace.asRelativePath(path)), 5000);
};

function activeNotebook(): vscode.NotebookDocument | undefined {
  const notebook = vscode.window.activeNotebookEditor?.notebook;
  if (notebook?.notebookType === NOTEBOOK_TYPE && notebook.uri.scheme === "file") return notebook;
  void vscode.window.showInformationMessage(vscode.l10n.t("Open a notebook (*.merge.md) that is saved on a disk."));
  return undefined;
}

function statusItem(cell: vscode.NotebookCell): vscode.NotebookCellStatusBarItem | undefined {
  if (cell.kind !== vscode.NotebookCellKind.Code) return undefined;
  const { name } = metadataOf(cell);
  const text = `${kindOf(cell, cell.document.getText())}${name === undefined ? "" : ` ${name}`}`;
  const item = new vscode.NotebookCellStatusBarItem(text, vscode.NotebookCellStatusBarAlignment.Right);
  item.command = { command: "weightsmith.setCellKind", title: "", arguments: [cell] };
  item.tooltip = vscode.l10n.t("What this cell does, and the name that later cells use its result by. Choose to change it.");
  return item;
}

/** Asks what a cell does and what it is called. */
export const setCellKind: Run = async (_context, argument) => {
  const editor = vscode.window.activeNotebookEditor;
  const cell = isCodeCell(argument) ? argument : editor?.notebook.getCells(editor.selection)[0];
  if (cell === undefined || cell.notebook.notebookType !== NOTEBOOK_TYPE || cell.kind !== vscode.NotebookCellKind.Code) return;
  const current = metadataOf(cell);
  const value = [kindOf(cell, cell.document.getText()), current.name].filter(Boolean).join(" ");
  const prompt = vscode.l10n.t("Kind ({0}) and, if you like, a name", CELL_KINDS.join(", "));
  const written = await vscode.window.showInputBox({
    title: vscode.l10n.t("Kind and name of the cell"),
    prompt,
    value,
    validateInput: (text) => (read(text) ? undefined : prompt),
  });
  const chosen = written === undefined ? undefined : read(written);
  if (chosen === undefined) return;
  const { source } = current;
  const edit = new vscode.WorkspaceEdit();
  edit.set(cell.notebook.uri, [vscode.NotebookEdit.updateCellMetadata(cell.index, { ...chosen, ...(source && { source }) })]);
  await vscode.workspace.applyEdit(edit);
};

const isCodeCell = (argument: unknown): argument is vscode.NotebookCell =>
  typeof argument === "object" && argument !== null && "document" in argument && "notebook" in argument;

function read(text: string): { kind: CellKind; name?: string } | undefined {
  const [word, name, ...rest] = text.trim().split(/\s+/);
  const kind = CELL_KINDS.find((known) => known === word);
  if (kind === undefined || rest.length > 0 || (name !== undefined && !CELL_NAME.test(name))) return undefined;
  return name === undefined ? { kind } : { kind, name };
}
