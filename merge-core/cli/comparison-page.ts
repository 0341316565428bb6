// The page that compare --html writes. Node only.
import { existsSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import type { Comparison } from "../analysis/comparison.ts";
import { errorCode } from "../bytes/file-source.ts";
import { inputError, WeightsmithError } from "../diagnostics.ts";
import { readPageScript, reportPage } from "../report-page.ts";

/** Told before the work starts, so that it is not done in vain. @throws WeightsmithError `output-exists` */
export function checkWritable(file: string | undefined, overwrite: boolean): void {
  if (file === undefined || overwrite || !existsSync(file)) return;
  throw inputError("output-exists", "the page exists already", { file, remedy: "choose another name, or pass --overwrite" });
}

/** Written under another name and renamed, so that the file is whole or absent. @throws WeightsmithError `file-write` */
export async function writeComparisonPage(comparison: Comparison, file: string, overwrite: boolean): Promise<void> {
  const html = reportPage({
    title: "Comparing models",
    data: comparison,
    script: await readPageScript("comparison"),
    withoutScript: "This page draws its charts with a script that it contains. weightsmith compare --json gives the same numbers.",
  });
  checkWritable(file, overwrite);
  const partial = `${file}.partial`;
  try {
    await writeFile(partial, html);
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    const diagnostic = { code: "file-write", severity: "error", message: "the page could not be written", file, found: errorCode(error) } as const;
    throw new WeightsmithError(diagnostic, { exitCode: 1, cause: error });
  }
}
