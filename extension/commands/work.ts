// Commands that start other work than merges: evaluate, train, verify.
import { basename, dirname } from "node:path";
import * as vscode from "vscode";
import { BUILTIN_METRICS } from "../../merge-core/evaluate/metric-spec.ts";
import { threadOptions } from "../settings.ts";
import { isAllowed, pickModel, type Run, uriOf } from "./context.ts";
import { askOutput } from "./output-folder.ts";
import { showReport } from "./report.ts";

export const SKIPPED = "**/{node_modules,.git,*.partial}/**";

export const evaluateModel: Run = async ({ jobs, library }, argument) => {
  if (!isAllowed()) return;
  const model = uriOf(argument)?.fsPath ?? (await pickModel(library, vscode.l10n.t("Evaluate a model"), vscode.l10n.t("The model to measure")));
  const data = model === undefined ? undefined : await pickFiles("**/*.jsonl", vscode.l10n.t("Data to measure it on (JSONL)"));
  if (model === undefined || data === undefined || data.length === 0) return;
  const metrics = await pickMetrics();
  if (metrics === undefined) return;
  const args = [model, ...data.flatMap((file) => ["--data", file]), ...metrics.flatMap((metric) => ["--metric", metric]), ...threadOptions()];
  jobs.start({ verb: "eval", title: basename(model), args, cwd: dirname(model) });
  await vscode.commands.executeCommand("weightsmith.runs.focus");
};

/** What to measure; none chosen leaves it to what the data holds. */
async function pickMetrics(): Promise<readonly string[] | undefined> {
  const items = Object.entries(BUILTIN_METRICS).map(([label, better]) => ({
    label,
    description: better === "max" ? vscode.l10n.t("higher is better") : vscode.l10n.t("lower is better"),
  }));
  const placeHolder = vscode.l10n.t("Metrics; choose none for loss, perplexity and exact match");
  return (await vscode.window.showQuickPick(items, { placeHolder, canPickMany: true }))?.map(({ label }) => label);
}

/** Files of the workspace; the dialog where it has none. */
export async function pickFiles(pattern: string, placeHolder: string): Promise<readonly string[] | undefined> {
  const found = await vscode.workspace.findFiles(pattern, SKIPPED, 500);
  if (found.length === 0) return (await vscode.window.showOpenDialog({ title: placeHolder, canSelectMany: true }))?.map(({ fsPath }) => fsPath);
  const items = found.map((uri) => ({ label: vscode.workspace.asRelativePath(uri), path: uri.fsPath }));
  return (await vscode.window.showQuickPick(items, { placeHolder, canPickMany: true }))?.map(({ path }) => path);
}

export const trainAdapter: Run = async ({ jobs }, argument) => {
  if (!isAllowed()) return;
  const config = uriOf(argument)?.fsPath ?? (await pickTraining());
  if (config === undefined) return;
  const folder = dirname(config);
  const name = basename(config).replace(/(\.train)?\.ya?ml$/i, "");
  const output = await askOutput(folder, `${name}-trained`);
  if (output === undefined) return;
  const args = [config, output.path, ...threadOptions(), ...(output.replace ? ["--overwrite"] : [])];
  jobs.start({ verb: "train", title: name, args, cwd: folder, input: config, output: output.path });
  await vscode.commands.executeCommand("weightsmith.runs.focus");
};

/** A YAML file: the one in the editor, or one of the workspace. Which keys it may have is for the command line to say. */
async function pickTraining(): Promise<string | undefined> {
  const active = vscode.window.activeTextEditor?.document;
  if (active?.languageId === "yaml" && /^method\s*:|^data\s*:/m.test(active.getText()) && (await active.save())) return active.fileName;
  const found = await vscode.workspace.findFiles("**/*.{yml,yaml}", SKIPPED, 500);
  const items = found.filter(({ path }) => !/\.merge\.ya?ml$/i.test(path)).map((uri) => ({ label: vscode.workspace.asRelativePath(uri), path: uri.fsPath }));
  const placeHolder = vscode.l10n.t("What to train: a YAML file with model, data and method");
  return (await vscode.window.showQuickPick(items, { placeHolder }))?.path;
}

export const verifyOutput: Run = async (context, argument) => {
  const title = vscode.l10n.t("Verify a merged model");
  const picked = uriOf(argument)?.fsPath ?? (await pickModel(context.library, title, vscode.l10n.t("A folder that Weightsmith wrote")));
  if (picked === undefined) return;
  const folder = /\.(safetensors|json)$/.test(picked) ? dirname(picked) : picked;
  const doing = vscode.l10n.t("Verifying {0}", basename(folder));
  await showReport(context, `${basename(folder)}.verified`, { doing, args: ["verify", folder], cwd: dirname(folder) });
};
