// weightsmith run NOTEBOOK.
import { readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { openError } from "../bytes/file-source.ts";
import { WeightsmithError } from "../diagnostics.ts";
import { type CellResult, outputTable } from "../notebook/cell-output.ts";
import { cellsOf, parseNotebook } from "../notebook/notebook.ts";
import { defaultMemoryBytes } from "../run/memory.ts";
import type { Command } from "./command.ts";
import { checkWritable } from "./html-page.ts";
import { writeNotebookPage } from "./notebook/notebook-page.ts";
import { problemsOf, problemText, runNotebook } from "./notebook/run-notebook.ts";
import { type Arguments, flag, MEMORY, number, OVERWRITE, positionals, THREADS, text, threads, usage } from "./options.ts";
import { formatTable } from "./output.ts";
import { chooseTrainingEngine, TRAINING_DEVICE, type TrainingEngine } from "./training-device.ts";

export const run: Command = {
  name: "run",
  summary: "run the cells of a notebook, and write what they give as a page",
  usage: "NOTES.merge.md [-o REPORT.html]",
  help: `
A notebook is plain Markdown. Its fenced blocks with the info string \`yaml merge\`, \`yaml compare\`, \`yaml eval\`,
\`yaml pareto\` or \`yaml train\` are cells, run in their order; a third word names a cell, and later cells use what it made as $NAME.

  merge      a recipe                               pareto  what weightsmith pareto reads
  compare    {base, models: [...], density}         train   what weightsmith train reads
  eval       {model, models: [...] or recipe, data, metrics: [exact_match, loss], limit, seed}

Paths are relative to the notebook. What cells make goes to folders of their names in NOTES.out. A cell that is run again
replaces what it made; a folder that no cell made is never touched. A merge that was stopped goes on where it was.

  weightsmith run notes.merge.md -o notes.html
  weightsmith run notes.merge.md --cell 2 --json`,
  options: [
    { name: "report", short: "o", type: "string", value: "FILE", doc: "write a page with text, charts and tables, complete in one file" },
    { name: "out", type: "string", value: "DIR", doc: "where cells put what they make (default: NOTES.out beside the notebook)" },
    { name: "cell", type: "string", value: "N|NAME", doc: "run only this cell, by number from 1 or by name" },
    { name: "keep-going", type: "flag", doc: "go on where a cell fails" },
    { name: "source", type: "string", value: "FILE", doc: "read the notebook's text from here; an editor gives what is not saved yet" },
    MEMORY,
    THREADS,
    TRAINING_DEVICE,
    OVERWRITE,
  ],
  async run(args, context) {
    const [file = ""] = positionals(args, ["NOTES.merge.md"]);
    const report = text(args, "report");
    checkWritable(report, flag(args, "overwrite"));
    const notebook = parseNotebook(await readNotebook(text(args, "source") ?? file), file);
    const only = chosenCell(args, cellsOf(notebook));
    const folder = resolve(text(args, "out") ?? join(dirname(file), `${basename(file).replace(/(\.merge)?\.md$/i, "")}.out`));
    let engine: Promise<TrainingEngine> | undefined;
    const results = await runNotebook(notebook, {
      folder,
      threads: threads(args),
      memoryBytes: number(args, "memory") ?? defaultMemoryBytes(),
      keepGoing: flag(args, "keep-going"),
      only,
      engine() {
        engine ??= chooseTrainingEngine(args, context);
        return engine;
      },
      context,
    });
    if (report !== undefined) await writeNotebookPage(notebook, results, report);
    const problems = problemsOf(results);
    // One cell alone is asked for by editors, which show its problem as its output.
    if (problems.length > 0 && only === undefined) throw new WeightsmithError(problems, { exitCode: 1 });
    context.output.result({ notebook: file, folder, cells: results }, page(results, report));
    if (problems.length > 0) process.exitCode = 1;
  },
};

async function readNotebook(file: string): Promise<string> {
  return readFile(file, "utf8").catch((error: unknown) => {
    throw openError(file, error);
  });
}

function chosenCell(args: Arguments, cells: readonly { readonly name: string }[]): number | undefined {
  const asked = text(args, "cell");
  if (asked === undefined) return undefined;
  const named = cells.findIndex(({ name }) => name === asked);
  const index = named >= 0 ? named : Number(asked) - 1;
  if (Number.isInteger(index) && index >= 0 && index < cells.length) return index;
  throw usage("there is no such cell", { found: asked, expected: cells.map(({ name }, i) => `${i + 1} or ${name}`).join(", ") || "a notebook with cells" });
}

function page(results: readonly CellResult[], report: string | undefined): string {
  const parts = results.map(({ name, kind, line, output }) => {
    if (output.kind === "problem") return problemText(output.diagnostics);
    const { header, rows } = outputTable(output);
    return `${kind} ${name}, line ${line}\n${formatTable(header, rows)}`;
  });
  return [...parts, ...(report === undefined ? [] : [`page: ${report}`])].join("\n\n");
}
