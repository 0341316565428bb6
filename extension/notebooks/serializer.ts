// Reads and writes the files of notebooks.
import * as vscode from "vscode";
import { editorCells, textOfCells } from "../../merge-core/notebook/editor-cells.ts";
import { fromEditor, toEditor } from "./cells.ts";

/** A byte order mark is part of the file; what is no UTF-8 is refused, because writing it back would change it. */
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const notebookSerializer: vscode.NotebookSerializer = {
  deserializeNotebook: (bytes) => new vscode.NotebookData(editorCells(DECODER.decode(bytes)).map(toEditor)),
  serializeNotebook: ({ cells }) => new TextEncoder().encode(textOfCells(cells.map((cell) => fromEditor(cell, cell.value)))),
};
