// Cells of the editor as those of the file, and back.
import * as vscode from "vscode";
import { type CellOutput, OUTPUT_MIME } from "../../merge-core/notebook/cell-output.ts";
import { type CellSource, type EditorCell, guessKind } from "../../merge-core/notebook/editor-cells.ts";
import { CELL_KINDS, type CellKind } from "../../merge-core/notebook/notebook.ts";

export const NOTEBOOK_TYPE = "weightsmith-notebook";

/** What a cell of the editor keeps of the file's. */
export interface CellMetadata {
  readonly kind?: CellKind;
  readonly name?: string;
  readonly source?: CellSource;
}

type AnyCell = { readonly kind: vscode.NotebookCellKind; readonly metadata?: Readonly<Record<string, unknown>> | undefined };

export const metadataOf = ({ metadata }: AnyCell): CellMetadata => (metadata ?? {}) as CellMetadata;

/** A cell of the file as the editor's. */
export function toEditor({ kind, name, value, source }: EditorCell): vscode.NotebookCellData {
  const isText = kind === "markdown";
  const cell = new vscode.NotebookCellData(isText ? vscode.NotebookCellKind.Markup : vscode.NotebookCellKind.Code, value, isText ? "markdown" : "yaml");
  cell.metadata = { ...(isText ? {} : { kind }), ...(name === undefined ? {} : { name }), source };
  return cell;
}

/** A new cell has no kind until it is given one; its keys say which it is meant to be. */
export function kindOf(cell: AnyCell, value: string): CellKind {
  const { kind } = metadataOf(cell);
  return CELL_KINDS.find((known) => known === kind) ?? guessKind(value);
}

/** A cell of the editor, with its text as it is now, as the file's. */
export function fromEditor(cell: AnyCell, value: string): EditorCell {
  const { name, source } = metadataOf(cell);
  if (cell.kind === vscode.NotebookCellKind.Markup) return { kind: "markdown", value, source };
  return { kind: kindOf(cell, value), name, value, source };
}

/** What a cell shows, as it was given. */
export function outputOfCell(cell: vscode.NotebookCell): CellOutput | undefined {
  const item = cell.outputs.flatMap(({ items }) => items).find(({ mime }) => mime === OUTPUT_MIME);
  return item === undefined ? undefined : (JSON.parse(new TextDecoder().decode(item.data)) as CellOutput);
}

/** Shows another output of a cell. */
export type ReplaceOutput = (cell: vscode.NotebookCell, output: CellOutput) => Promise<void>;

/** The cells of an open notebook. */
export const cellsOfDocument = (notebook: vscode.NotebookDocument): EditorCell[] =>
  notebook.getCells().map((cell) => fromEditor(cell, cell.document.getText()));
