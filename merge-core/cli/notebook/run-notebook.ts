// A notebook's cells, one after the other. Node only.
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type Diagnostic, formatDiagnostic, throwIfCancelled, WeightsmithError } from "../../diagnostics.ts";
import type { CellOutput, CellResult } from "../../notebook/cell-output.ts";
import { type Cell, cellsOf, inNotebook, type Notebook } from "../../notebook/notebook.ts";
import { resolveReferences } from "../../notebook/references.ts";
import type { CommandContext } from "../command.ts";
import { type CellRun, RUN_CELL } from "./run-cell.ts";

export interface NotebookRun {
  /** Of what cells make; each in a folder of its name. */
  readonly folder: string;
  readonly threads: number;
  readonly memoryBytes: number;
  /** Go on with the next cell where one fails. */
  readonly keepGoing: boolean;
  /** Only this cell, counted from 0. */
  readonly only?: number | undefined;
  readonly engine: CellRun["engine"];
  readonly context: CommandContext;
  readonly onCell?: (result: CellResult) => void;
}

/**
 * Runs cells in their order; the last result may be a problem. Meanwhile the notebook's folder is the current one, so that paths
 * in cells are relative to it, whatever reads them.
 * @throws WeightsmithError `cancelled`, and the notebook's own problems before any cell has run
 */
export async function runNotebook(notebook: Notebook, run: NotebookRun): Promise<CellResult[]> {
  if (notebook.diagnostics.length > 0) throw new WeightsmithError(notebook.diagnostics);
  const file = resolve(notebook.file);
  const before = process.cwd();
  process.chdir(dirname(file));
  try {
    return await runCells(notebook, { ...run, file });
  } finally {
    process.chdir(before);
  }
}

async function runCells(notebook: Notebook, run: NotebookRun & { readonly file: string }): Promise<CellResult[]> {
  const results: CellResult[] = [];
  for (const [i, cell] of cellsOf(notebook).entries()) {
    if (run.only !== undefined && run.only !== i) continue;
    throwIfCancelled(run.context.signal);
    run.context.output.note(`${cell.kind} ${cell.name}, line ${cell.line}`);
    const result = { name: cell.name, kind: cell.kind, line: cell.line, output: await runCell(notebook, i, run) };
    results.push(result);
    run.onCell?.(result);
    if (result.output.kind === "problem" && !run.keepGoing) break;
  }
  return results;
}

/** @throws WeightsmithError `cancelled` alone: what else goes wrong is the cell's output */
async function runCell(
  notebook: Notebook,
  index: number,
  { file, folder, threads, memoryBytes, engine, context }: NotebookRun & { file: string },
): Promise<CellOutput> {
  const cells = cellsOf(notebook);
  const cell = cells[index] as Cell;
  try {
    const { text, diagnostics } = resolveReferences(cell.body, (name) => outputOf(name, cells.slice(0, index), folder));
    if (diagnostics.length > 0) throw new WeightsmithError(diagnostics);
    return await RUN_CELL[cell.kind]({ name: cell.name, text, file, folder, threads, memoryBytes, engine, context });
  } catch (error) {
    if (error instanceof WeightsmithError && error.code === "cancelled") throw error;
    const problems = error instanceof WeightsmithError ? error.diagnostics : [unexpected(error)];
    // Absolute inside, as the user gave it outside.
    const told = problems.map((problem) => ({ ...problem, ...(problem.file === file && { file: notebook.file }) }));
    return { kind: "problem", diagnostics: told.map((problem) => inNotebook(problem, cell, notebook.file)) };
  }
}

function outputOf(name: string, before: readonly Cell[], folder: string): string | Omit<Diagnostic, "range"> {
  const known = before.filter(({ kind }) => kind === "merge" || kind === "train").map((cell) => cell.name);
  const place = join(folder, name);
  if (known.includes(name) && existsSync(place)) return place;
  const severity = "error" as const;
  if (known.includes(name)) return { code: "notebook-cell-not-run", severity, message: `cell ${name} has made nothing yet`, remedy: "run it first" };
  return {
    code: "notebook-unknown-cell",
    severity,
    message: "no earlier cell makes this",
    found: `$${name}`,
    expected: known.map((k) => `$${k}`).join(", ") || "a path",
  };
}

function unexpected(error: unknown): Diagnostic {
  return { code: "unexpected", severity: "error", message: error instanceof Error ? error.message : String(error) };
}

/** Problems of the cells that failed. */
export const problemsOf = (results: readonly CellResult[]): Diagnostic[] =>
  results.flatMap(({ output }) => (output.kind === "problem" ? output.diagnostics : []));

export const problemText = (diagnostics: readonly Diagnostic[]): string => diagnostics.map(formatDiagnostic).join("\n");
