// What a notebook's page embeds. Pure.
import type { CellOutput } from "./cell-output.ts";
import type { CellKind, MarkdownBlock } from "./notebook.ts";

export interface ReportCell {
  readonly kind: CellKind;
  readonly name: string;
  readonly body: string;
  /** Absent where the cell was not run. */
  readonly output?: CellOutput;
}

export interface NotebookReport {
  readonly weightsmith: string;
  /** Of the file. */
  readonly name: string;
  readonly blocks: readonly (MarkdownBlock | ReportCell)[];
}
