// Pages that commands write where --html says. Node only.
import { existsSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { errorCode } from "../bytes/file-source.ts";
import { inputError, WeightsmithError } from "../diagnostics.ts";
import { readPageScript, reportPage } from "../report-page.ts";

/** Told before the work starts, so that it is not done in vain. @throws WeightsmithError `output-exists` */
export function checkWritable(file: string | undefined, overwrite: boolean): void {
  if (file === undefined || overwrite || !existsSync(file)) return;
  throw inputError("output-exists", "the page exists already", { file, remedy: "choose another name, or pass --overwrite" });
}

export interface HtmlPage {
  readonly title: string;
  /** Name of the script that draws it. */
  readonly script: string;
  /** The command whose --json gives the same numbers. */
  readonly command: string;
  readonly data: unknown;
}

/** Written under another name and renamed, so that the file is whole or absent. @throws WeightsmithError `output-exists`, `file-write` */
export async function writePage({ title, script, command, data }: HtmlPage, file: string, overwrite: boolean): Promise<void> {
  const withoutScript = `This page draws its charts with a script that it contains. weightsmith ${command} --json gives the same numbers.`;
  const html = reportPage({ title, data, script: await readPageScript(script), withoutScript });
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
