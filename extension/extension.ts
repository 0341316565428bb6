// Wires the extension together; nothing else.
import * as vscode from "vscode";
import { registerCommands } from "./commands/commands.ts";
import type { CommandContext } from "./commands/context.ts";
import { tellEnd } from "./commands/runs.ts";
import { registerCheckpointEditor } from "./editors/checkpoint-editor.ts";
import { registerParetoEditor } from "./editors/pareto-editor.ts";
import { showJobProblems } from "./jobs/job-problems.ts";
import { Jobs } from "./jobs/jobs.ts";
import { ModelLibrary } from "./models/library.ts";
import { registerNotebooks } from "./notebooks/notebooks.ts";
import { registerComparisonPanels } from "./panels/comparison-panel.ts";
import { registerRunsPanels } from "./panels/runs-panel.ts";
import { registerRecipeFeatures } from "./recipes/features.ts";
import { RecipeProblems } from "./recipes/problems.ts";
import { storageOf } from "./storage.ts";
import { registerTextDocuments } from "./text-documents.ts";
import { ModelsView } from "./views/models-view.ts";
import { RunsView, showRunning } from "./views/runs-view.ts";

/** The build marks the start of loading, this its end, each with the thread's time at work: what lies between is what activation costs. */
export function activate(extension: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("Weightsmith", { log: true });
  const library = new ModelLibrary(extension.globalState);
  const jobs = new Jobs(storageOf(extension), extension.extensionPath, log);
  const context: CommandContext = { extension, log, library, jobs, showText: registerTextDocuments(extension) };
  registerCommands(context);
  registerCheckpointEditor(extension);
  registerComparisonPanels(extension);
  registerParetoEditor(context);
  registerRunsPanels(context);
  registerNotebooks(context);
  registerRecipeFeatures(extension, library);
  extension.subscriptions.push(
    log,
    library,
    jobs,
    new RecipeProblems(library),
    vscode.window.registerTreeDataProvider("weightsmith.models", new ModelsView(library)),
    vscode.window.registerTreeDataProvider("weightsmith.runs", new RunsView(jobs)),
    showRunning(jobs),
    showJobProblems(jobs),
    jobs.onDidEnd((job) => {
      library.refresh();
      void tellEnd(context, job);
    }),
  );
  performance.mark("weightsmith active", { detail: (process as { threadCpuUsage?: () => NodeJS.CpuUsage }).threadCpuUsage?.() });
}
