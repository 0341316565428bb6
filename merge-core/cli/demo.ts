// weightsmith demo: merge and measure the sample models, write a report.
import { resultsTable } from "../evaluate/demo-results.ts";
import type { Command } from "./command.ts";
import { flag, OVERWRITE, positionals, THREADS, text, threads } from "./options.ts";
import { formatDuration, formatTable } from "./output.ts";

export const demo: Command = {
  name: "demo",
  summary: "merge and measure the sample models, write a report",
  usage: "[--out FOLDER]",
  help: `
Merges the four sample experts by five methods, lets base, experts and merges answer the held-out test questions of every
task, prints the table and writes results.json and report.html, with charts, to a folder. Nothing is trained and nothing
is fetched. An earlier demo in that folder is replaced.

  weightsmith demo
  weightsmith demo --out ./first-look --json`,
  options: [{ name: "out", type: "string", value: "FOLDER", doc: "folder to write (default: weightsmith-demo)" }, THREADS, OVERWRITE],
  async run(args, { output, signal }) {
    positionals(args, []);
    // Loaded here: only commands that run models pay for the autodiff library.
    const { runDemo } = await import("../evaluate/demo.ts");
    const { results, reportFile, resultsFile, seconds } = await runDemo({
      out: text(args, "out") ?? "weightsmith-demo",
      overwrite: flag(args, "overwrite"),
      threads: threads(args),
      signal,
      onProgress: ({ done, total, detail }) => output.progress({ stage: "demo", done, total, unit: "items", detail }),
    });
    const { header, rows } = resultsTable(results);
    const table = formatTable(
      header,
      rows,
      header.map((_, i) => i).filter((i) => i >= 2),
    );
    const legend = "Exact match in percent on held-out test questions; “of experts” is the mean of each task's score divided by its expert's.";
    output.result({ ...results, reportFile, resultsFile, seconds }, `${table}\n\n${legend}\nreport: ${reportFile} (${formatDuration(seconds)})`);
  },
};
