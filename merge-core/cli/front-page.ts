// The page that pareto writes beside its result. Node only.
import { rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { FrontFile } from "../pareto/front-file.ts";
import { readPageScript, reportPage } from "../report-page.ts";

/** Writes report.html beside the result; returns its path. */
export async function writeFrontPage(front: FrontFile, frontFile: string): Promise<string> {
  const file = join(dirname(frontFile), "report.html");
  const withoutScript = "This page draws its charts with a script that it contains. pareto.json holds the same numbers.";
  const html = reportPage({ title: "Trade-offs", data: front, script: await readPageScript("pareto"), withoutScript });
  await writeFile(`${file}.partial`, html);
  await rename(`${file}.partial`, file);
  return file;
}
