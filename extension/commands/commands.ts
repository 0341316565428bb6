// Every command by its id.
import * as vscode from "vscode";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { exploreParetoFront } from "../editors/pareto-editor.ts";
import { newNotebook } from "../notebooks/new-notebook.ts";
import { saveNotebookOutputs, setCellKind } from "../notebooks/notebooks.ts";
import { diagnosticsOf } from "../panels/page-channel.ts";
import { showRunCurves } from "../panels/runs-panel.ts";
import { extractAdapter, mergeAdapters } from "./adapters.ts";
import { compareModels } from "./compare.ts";
import type { CommandContext, Run } from "./context.ts";
import { showEngines } from "./engines.ts";
import { inspectCheckpoint, refreshModels, togglePin } from "./models.ts";
import { locateModel, newRecipe, planRecipe, runRecipe } from "./recipe.ts";
import { cancelRun, openRunInput, openRunOutput, removeRun, rerunRun, resumeRun, showLog } from "./runs.ts";
import { unlearnModel } from "./unlearn.ts";
import { evaluateModel, trainAdapter, verifyOutput } from "./work.ts";
import { openZoo } from "./zoo.ts";

export const COMMANDS: Readonly<Record<string, Run>> = {
  "weightsmith.newRecipe": newRecipe,
  "weightsmith.planMerge": planRecipe,
  "weightsmith.runMerge": runRecipe,
  "weightsmith.inspectCheckpoint": inspectCheckpoint,
  "weightsmith.compareModels": compareModels,
  "weightsmith.exploreParetoFront": exploreParetoFront,
  "weightsmith.showRunCurves": showRunCurves,
  "weightsmith.evaluateModel": evaluateModel,
  "weightsmith.trainAdapter": trainAdapter,
  "weightsmith.mergeAdapters": mergeAdapters,
  "weightsmith.extractAdapter": extractAdapter,
  "weightsmith.unlearn": unlearnModel,
  "weightsmith.verifyOutput": verifyOutput,
  "weightsmith.openZoo": openZoo,
  "weightsmith.showEngines": showEngines,
  "weightsmith.showLog": showLog,
  "weightsmith.locateModel": locateModel,
  "weightsmith.refreshModels": refreshModels,
  "weightsmith.pinModel": togglePin,
  "weightsmith.unpinModel": togglePin,
  "weightsmith.cancelRun": cancelRun,
  "weightsmith.resumeRun": resumeRun,
  "weightsmith.rerunRun": rerunRun,
  "weightsmith.removeRun": removeRun,
  "weightsmith.openRunOutput": openRunOutput,
  "weightsmith.openRunInput": openRunInput,
  "weightsmith.newNotebook": newNotebook,
  "weightsmith.saveNotebookOutputs": saveNotebookOutputs,
  "weightsmith.setCellKind": setCellKind,
};

/** Registers every command, and tells what goes wrong in one. */
export function registerCommands(context: CommandContext): void {
  for (const [id, run] of Object.entries(COMMANDS))
    context.extension.subscriptions.push(vscode.commands.registerCommand(id, (...args: unknown[]) => guard(context, () => run(context, ...args))));
}

/** Failures are told with their remedy and a way to the log; a cancellation is no failure. */
async function guard({ log }: CommandContext, action: () => Promise<void> | void): Promise<void> {
  try {
    await action();
  } catch (error) {
    const [cause] = diagnosticsOf(error);
    if (cause === undefined || cause.code === "cancelled") return;
    log.error(formatDiagnostic(cause), error instanceof Error ? (error.stack ?? "") : "");
    const show = vscode.l10n.t("Show Log");
    // Not awaited: a command is over when it has failed, not when its message is read.
    void vscode.window.showErrorMessage(formatDiagnostic(cause), show).then((said) => said === show && log.show());
  }
}
