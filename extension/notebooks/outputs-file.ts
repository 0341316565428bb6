// Outputs kept beside a notebook on request; pure.
import { createHash } from "node:crypto";
import type { CellOutput } from "../../merge-core/notebook/cell-output.ts";

export const outputsPath = (notebook: string): string => `${notebook.replace(/\.md$/i, "")}.outputs.json`;

/** An output, and the text of the cell that gave it. */
export interface KeptOutput {
  readonly text: string;
  readonly output: CellOutput;
}

interface OutputsFile {
  readonly format: "weightsmith-notebook-outputs";
  readonly version: 1;
  readonly cells: readonly { readonly cell: string; readonly output: CellOutput }[];
}

/** By text, so that a cell that has changed since does not show what its former self gave. */
const digest = (text: string): string => createHash("sha256").update(text.replaceAll("\r\n", "\n")).digest("hex").slice(0, 32);

/** The text of the file that keeps outputs. */
export function writeOutputs(kept: readonly KeptOutput[]): string {
  const file: OutputsFile = { format: "weightsmith-notebook-outputs", version: 1, cells: kept.map(({ text, output }) => ({ cell: digest(text), output })) };
  return `${JSON.stringify(file, undefined, 2)}\n`;
}

/** The kept output of a cell with this text; none from a file that is another's. */
export function readOutputs(json: string): (text: string) => CellOutput | undefined {
  let file: Partial<OutputsFile>;
  try {
    file = (JSON.parse(json) ?? {}) as Partial<OutputsFile>;
  } catch {
    return () => undefined;
  }
  const known = new Map(
    file.format === "weightsmith-notebook-outputs" && file.version === 1 ? (file.cells ?? []).map(({ cell, output }) => [cell, output]) : [],
  );
  return (text) => known.get(digest(text));
}
