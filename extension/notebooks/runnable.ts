// The text that a cell is run from; pure.
import { type EditorCell, textOfCells } from "../../merge-core/notebook/editor-cells.ts";
import { cellsOf, parseNotebook } from "../../merge-core/notebook/notebook.ts";

/** Which cell of the file's text, counted from 1, an editor's cell is; the text that is run is what the editor would save. */
export function runnable(cells: readonly EditorCell[], index: number): { readonly text: string; readonly number: number } {
  const text = textOfCells(cells);
  return { text, number: cells.slice(0, index + 1).filter(({ kind }) => kind !== "markdown").length };
}

/** Whether the text holds the cells that the editor shows, which a fence within Markdown could change. */
export const isFaithful = (cells: readonly EditorCell[], text: string): boolean =>
  cellsOf(parseNotebook(text, "")).length === cells.filter(({ kind }) => kind !== "markdown").length;
