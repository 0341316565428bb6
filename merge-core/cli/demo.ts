// weightsmith demo: merge and measure the sample models, write a report.
import { type Ordering, orderings } from "../evaluate/demo-orderings.ts";
import type { DemoProbes } from "../evaluate/demo-probes.ts";
import { resultsTable } from "../evaluate/demo-results.ts";
import type { Command } from "./command.ts";
import { flag, OVERWRITE, positionals, THREADS, text, threads } from "./options.ts";
import { formatDuration, formatTable } from "./output.ts";

export const demo: Command = {
  name: "demo",
  summary: "merge and measure the sample models, write a report",
  usage: "[--all] [--out FOLDER]",
  help: `
Merges the four sample experts by five methods, or with --all by every method that takes any number of experts, lets base,
experts and merges answer the held-out test questions of every task, prints the table and writes results.json and
report.html, with charts, to a folder. Nothing is trained and nothing is fetched. Merges that draw at random are made with
several seeds: the table has their mean and its spread. With --all the sum of task vectors is also measured over its coefficient,
and each task vector is taken away from the base. mwa and rws are left out: their models are checkpoints of one run, and
models trained on corrupted data. Where results are not what the literature leads one to expect, it is told. An earlier demo
in that folder is replaced.

  weightsmith demo
  weightsmith demo --all
  weightsmith demo --out ./first-look --json`,
  options: [
    { name: "out", type: "string", value: "FOLDER", doc: "folder to write (default: weightsmith-demo)" },
    { name: "all", type: "flag", doc: "every method that merges any number of experts" },
    THREADS,
    OVERWRITE,
  ],
  async run(args, { output, signal }) {
    positionals(args, []);
    // Loaded here: only commands that run models pay for the autodiff library.
    const { runDemo } = await import("../evaluate/demo.ts");
    const { results, reportFile, resultsFile, seconds } = await runDemo({
      out: text(args, "out") ?? "weightsmith-demo",
      overwrite: flag(args, "overwrite"),
      all: flag(args, "all"),
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
    const expected = orderings(results.models, results.probes);
    output.result(
      { ...results, orderings: expected, reportFile, resultsFile, seconds },
      `${table}\n\n${legend}\n${formatProbes(results.probes)}${formatOrderings(expected)}\nreport: ${reportFile} (${formatDuration(seconds)})`,
    );
  },
};

function formatProbes(probes: DemoProbes | undefined): string {
  if (probes === undefined) return "";
  const percent = (share: number) => (100 * share).toFixed(1);
  const curve = probes.curve.map(({ lambda, mean }) => `${lambda}: ${percent(mean)}`).join(", ");
  const negations = probes.negations.map(({ task, lambda, target, control }) =>
    lambda === undefined
      ? `  ${task}: no coefficient leaves 95 % of the rest`
      : `  ${task} at ${lambda}: ${percent(target.base)} to ${percent(target.negated)}, the rest ${percent(control.base)} to ${percent(control.negated)}`,
  );
  return `Sum of all task vectors by its coefficient: ${curve}.\nOne task vector taken away from the base, its coefficient chosen on validation questions:\n${negations.join("\n")}\n`;
}

function formatOrderings(all: readonly Ordering[]): string {
  const failed = all.filter(({ holds }) => !holds);
  const lines = failed.map(({ expectation, found }) => `  ${expectation}: not here (${found})`);
  return [
    `${all.length - failed.length} of ${all.length} orderings that the literature leads one to expect hold${failed.length === 0 ? "." : "; these do not:"}`,
    ...lines,
  ].join("\n");
}
