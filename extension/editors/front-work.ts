// What a point of a search's result can start: its recipe, its merge, its measuring. For the editor of results and for notebooks.
import { readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import * as vscode from "vscode";
import { openError } from "../../merge-core/bytes/file-source.ts";
import { inputError } from "../../merge-core/diagnostics.ts";
import { FRONT_FILE, type FrontFile } from "../../merge-core/pareto/front-file.ts";
import { parseFront } from "../../merge-core/pareto/read-front.ts";
import { type CommandContext, isAllowed } from "../commands/context.ts";
import { askOutput, freeName } from "../commands/output-folder.ts";
import { runForText } from "../jobs/program.ts";
import { memoryOptions, threadOptions } from "../settings.ts";

/** @throws WeightsmithError `file-*`, `front-invalid` */
export async function readFront(file: string): Promise<FrontFile> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw openError(file, error);
  });
  return parseFront(text, file);
}

/** The recipe of a setting of the coefficients. @throws WeightsmithError `front-renamed`, `command-failed` */
export async function recipeAt({ extension }: CommandContext, file: string, setting: readonly number[], signal: AbortSignal): Promise<string> {
  checkName(file);
  return runForText(extension.extensionPath, ["pareto", dirname(file), `--recipe=${setting.join(",")}`], { cwd: dirname(file), signal });
}

/** Writes the recipe beside the search's configuration, whose paths it shares, and starts the merge; gives the name of its output. */
export async function writeMerge(
  context: CommandContext,
  file: string,
  { config }: FrontFile,
  setting: readonly number[],
  signal: AbortSignal,
): Promise<string | undefined> {
  if (!isAllowed()) return undefined;
  const recipe = await recipeAt(context, file, setting, signal);
  const folder = dirname(config.file);
  const output = await askOutput(folder, freeName(folder, `${basename(config.file).replace(/(\.merge)?\.(ya?ml|md)$/i, "")}-merge`));
  if (output === undefined) return undefined;
  const input = join(folder, `${basename(output.path)}.merge.yml`);
  await writeFile(input, recipe);
  const args = [input, output.path, ...memoryOptions(), ...threadOptions(), ...(output.replace ? ["--overwrite"] : [])];
  context.jobs.start({ verb: "merge", title: basename(output.path), args, cwd: folder, output: output.path, input });
  await vscode.commands.executeCommand("weightsmith.runs.focus");
  return relative(folder, output.path);
}

/** Starts the measuring of a setting, which changes the file when it is done; the job's id, undefined where nothing may run. */
export function evaluatePoint({ jobs }: CommandContext, file: string, setting: readonly number[]): string | undefined {
  if (!isAllowed()) return undefined;
  checkName(file);
  const folder = dirname(file);
  const args = [folder, `--evaluate=${setting.join(",")}`, ...threadOptions()];
  return jobs.start({ verb: "pareto", title: basename(folder), args, cwd: dirname(folder), output: folder }).id;
}

/** The command line knows a search by its folder. */
function checkName(file: string): void {
  if (basename(file) === FRONT_FILE) return;
  throw inputError("front-renamed", "this file is not where its search wrote it", {
    file,
    found: basename(file),
    expected: `a folder with ${FRONT_FILE} and its trials`,
  });
}
