// Commands on runs and the log.
import { basename, dirname, join } from "node:path";
import * as vscode from "vscode";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { FRONT_FILE } from "../../merge-core/pareto/front-file.ts";
import { exploreParetoFront } from "../editors/pareto-editor.ts";
import { isUnfinished, type Job } from "../jobs/jobs.ts";
import { joinWords, splitWords } from "../jobs/words.ts";
import { describeJob } from "../views/runs-view.ts";
import { type CommandContext, isAllowed, type Run } from "./context.ts";
import { inspectCheckpoint } from "./models.ts";
import { askOutput, freeName } from "./output-folder.ts";

/** The run given by a view, or one chosen among those that `fits` allows. */
async function runFor({ jobs }: CommandContext, argument: unknown, fits: (job: Job) => boolean): Promise<Job | undefined> {
  if (typeof argument === "object" && argument !== null && "record" in argument) return jobs.find((argument as Job).record.id);
  const items = jobs.all.filter(fits).map((job) => ({ label: `${job.record.verb} ${job.record.title}`, description: describeJob(job), job }));
  if (items.length === 0) void vscode.window.showInformationMessage(vscode.l10n.t("There is no such run."));
  return items.length > 1 ? (await vscode.window.showQuickPick(items, { placeHolder: vscode.l10n.t("Run") }))?.job : items[0]?.job;
}

export const cancelRun: Run = async (context, argument) => {
  const job = await runFor(context, argument, isUnfinished);
  if (job !== undefined) context.jobs.cancel(job.record.id);
};

export const resumeRun: Run = async (context, argument) => {
  const job = await runFor(context, argument, (candidate) => !isUnfinished(candidate) && candidate.status !== "done");
  if (job !== undefined) context.jobs.resume(job.record.id);
};

export const removeRun: Run = async (context, argument) => {
  const job = await runFor(context, argument, ({ status }) => status !== "running");
  if (job !== undefined) context.jobs.remove(job.record.id);
};

/** The same work again with other options or another output; the recipe or configuration is read anew, so that it may have changed too. */
export const rerunRun: Run = async (context, argument) => {
  if (!isAllowed()) return;
  const job = await runFor(context, argument, (candidate) => !isUnfinished(candidate));
  if (job === undefined) return;
  const { verb, title, args, cwd, output, input } = job.record;
  const target = output === undefined ? undefined : await askOutput(dirname(output), freeName(dirname(output), basename(output)));
  if (output !== undefined && target === undefined) return;
  const words = args.filter((word) => word !== "--overwrite").map((word) => (word === output && target !== undefined ? target.path : word));
  const line = await vscode.window.showInputBox({
    ignoreFocusOut: true,
    title: vscode.l10n.t("Run again: {0}", `${verb} ${title}`),
    prompt: vscode.l10n.t("Arguments of weightsmith {0}; see weightsmith {0} --help", verb),
    value: joinWords([...words, ...(target?.replace ? ["--overwrite"] : [])]),
    validateInput: (text) => (splitWords(text) === undefined ? vscode.l10n.t("A quotation mark is missing") : undefined),
  });
  const changed = line === undefined ? undefined : splitWords(line);
  if (changed === undefined) return;
  context.jobs.start({ verb, title, args: changed, cwd, ...(target && { output: target.path }), ...(input && { input }) });
  await vscode.commands.executeCommand("weightsmith.runs.focus");
};

/** The model a run made; of a run that made none, such as an evaluation, what it said. */
export const openRunOutput: Run = async (context, argument) => {
  const job = await runFor(context, argument, ({ status }) => status === "done");
  if (job === undefined) return;
  const { id, verb, title, output } = job.record;
  if (verb === "pareto" && output !== undefined) await exploreParetoFront(context, vscode.Uri.file(join(output, FRONT_FILE)));
  else if (verb === "unlearn" && output !== undefined) await inspectCheckpoint(context, vscode.Uri.file(join(output, "model")));
  else if (output === undefined) await context.showText(`${verb} ${title}`, context.jobs.resultOf(id));
  else await inspectCheckpoint(context, vscode.Uri.file(output));
};

export const openRunInput: Run = async (context, argument) => {
  const job = await runFor(context, argument, ({ record }) => record.input !== undefined);
  if (job?.record.input !== undefined) await vscode.window.showTextDocument(vscode.Uri.file(job.record.input));
};

export const showLog: Run = ({ log }) => log.show();

/** Tells of the end of a run: where the result is, or what went wrong and that it can be resumed. A cancelled run needs no telling. */
export async function tellEnd(context: CommandContext, job: Job): Promise<void> {
  // A notebook's cell shows what came of it.
  if (job.record.verb === "run") return;
  const name = `${job.record.verb} ${job.record.title}`;
  if (job.status === "done") {
    const open = vscode.l10n.t("Open Output");
    const said = await vscode.window.showInformationMessage(vscode.l10n.t("Done: {0}", name), open);
    if (said === open) await openRunOutput(context, job);
  } else if (job.status === "failed" || job.status === "died") {
    const [resume, log] = [vscode.l10n.t("Resume"), vscode.l10n.t("Show Log")];
    const [cause] = job.diagnostics;
    const said = await vscode.window.showErrorMessage(`${name}: ${cause === undefined ? describeJob(job) : formatDiagnostic(cause)}`, resume, log);
    if (said === resume) context.jobs.resume(job.record.id);
    if (said === log) context.log.show();
  }
}
