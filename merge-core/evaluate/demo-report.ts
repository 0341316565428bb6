// report.html of the demo.
import { reportPage } from "../report-page.ts";
import type { DemoResults } from "./demo-results.ts";

export const reportHtml = (results: DemoResults, script: string): string =>
  reportPage({
    title: "Merging four experts",
    data: results,
    script,
    withoutScript: "This page draws its charts with a script that it contains. The numbers are also in results.json beside it.",
  });
