// The page that `weightsmith run` writes: the notebook's text with the outputs of its cells. Node only.
import { rename, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { openError } from "../../bytes/file-source.ts";
import type { CellResult } from "../../notebook/cell-output.ts";
import { isCell, type Notebook } from "../../notebook/notebook.ts";
import type { NotebookReport } from "../../notebook/report.ts";
import { readPageScript, reportPage } from "../../report-page.ts";
import { VERSION } from "../../version.ts";

/** Written under another name and renamed, so that the file is whole or absent. @throws WeightsmithError `file-*` */
export async function writeNotebookPage(notebook: Notebook, results: readonly CellResult[], file: string): Promise<void> {
  const report: NotebookReport = {
    weightsmith: VERSION,
    name: basename(notebook.file),
    blocks: notebook.blocks.map((block) => {
      if (!isCell(block)) return block;
      const { kind, name, body } = block;
      const result = results.find((candidate) => candidate.name === name);
      return { kind, name, body, ...(result && { output: result.output }) };
    }),
  };
  const withoutScript = "This page draws its charts with a script that it contains. weightsmith run --json gives the same numbers.";
  const html = reportPage({ title: report.name, data: report, script: await readPageScript("notebook"), withoutScript });
  await writeFile(`${file}.partial`, html).catch((error: unknown) => {
    throw openError(file, error);
  });
  await rename(`${file}.partial`, file);
}
