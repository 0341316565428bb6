// Commands on recipes: new, plan, run, locate a model.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import * as vscode from "vscode";
import { describeCheckpoint } from "../../merge-core/checkpoints/describe.ts";
import type { MergeMethod } from "../../merge-core/methods/method.ts";
import { methods } from "../../merge-core/methods/registry.ts";
import { yamlText } from "../../merge-core/recipe/recipe-fixes.ts";
import { parseRecipeFile } from "../../merge-core/recipe/stages.ts";
import { formatBytes } from "../../merge-core/units.ts";
import { isRecipeDocument } from "../recipes/features.ts";
import { referenceTo } from "../recipes/recipe-models.ts";
import { newRecipeText } from "../recipes/recipe-text.ts";
import { deviceOptions, memoryOptions, threadOptions } from "../settings.ts";
import { compareBeside } from "./compare.ts";
import { type CommandContext, isAllowed, pickModel, pickModels, type Run, recipeName, uriOf } from "./context.ts";
import { askOutput } from "./output-folder.ts";
import { showReport } from "./report.ts";

/** The recipe a command is about: the one given, the one in the editor, or one chosen from the workspace. Saved, so that the run reads what is seen. */
async function recipeFor(argument: unknown): Promise<vscode.TextDocument | undefined> {
  const uri = uriOf(argument) ?? (await chooseRecipe());
  if (uri === undefined) return undefined;
  const document = await vscode.workspace.openTextDocument(uri);
  if (document.isUntitled || (document.isDirty && !(await document.save()))) return undefined;
  return document;
}

async function chooseRecipe(): Promise<vscode.Uri | undefined> {
  const active = vscode.window.activeTextEditor?.document;
  if (active !== undefined && isRecipeDocument(active)) return active.uri;
  const found = await vscode.workspace.findFiles("**/*.merge.{yml,yaml}", "**/{node_modules,.git,*.partial}/**", 200);
  if (found.length === 0) {
    void vscode.window.showInformationMessage(vscode.l10n.t("There is no recipe (*.merge.yml) in this workspace yet. Start with New Merge Recipe."));
    return undefined;
  }
  const items = found.map((uri) => ({ label: vscode.workspace.asRelativePath(uri), uri }));
  return (await vscode.window.showQuickPick(items, { placeHolder: vscode.l10n.t("Recipe") }))?.uri;
}

export const planRecipe: Run = async (context, argument) => {
  const document = await recipeFor(argument);
  if (document === undefined) return;
  const name = recipeName(document.fileName);
  const args = ["plan", document.fileName, ...memoryOptions()];
  await showReport(context, `${name}.plan`, { doing: vscode.l10n.t("Planning {0}", name), args, cwd: dirname(document.fileName) });
};

export const runRecipe: Run = async ({ jobs }, argument) => {
  if (!isAllowed()) return;
  const document = await recipeFor(argument);
  if (document === undefined) return;
  if (parseRecipeFile(document.getText(), document.fileName).stages === undefined) {
    void vscode.window.showErrorMessage(vscode.l10n.t("This recipe has errors; see Problems."));
    await vscode.commands.executeCommand("workbench.actions.view.problems");
    return;
  }
  const folder = dirname(document.fileName);
  const output = await askOutput(folder, `${recipeName(document.fileName)}-merged`);
  if (output === undefined) return;
  jobs.start({
    verb: "merge",
    title: recipeName(document.fileName),
    args: [document.fileName, output.path, ...memoryOptions(), ...threadOptions(), ...deviceOptions(), ...(output.replace ? ["--overwrite"] : [])],
    cwd: folder,
    input: document.fileName,
    output: output.path,
  });
  await vscode.commands.executeCommand("weightsmith.runs.focus");
};

export const newRecipe: Run = async (context) => {
  const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file")?.uri.fsPath;
  if (folder === undefined) {
    void vscode.window.showInformationMessage(vscode.l10n.t("Open a folder first: the recipe is a file in it."));
    return;
  }
  const method = await pickMethod();
  const chosen = method && (await pickParts(context, method));
  if (method === undefined || chosen === undefined) return;
  const file = await askRecipeFile(folder, method.id);
  if (file === undefined) return;
  const reference = (path: string) => referenceTo(folder, path);
  const text = newRecipeText({ method, base: chosen.base && reference(chosen.base), models: chosen.models.map(reference) });
  await vscode.workspace.fs.writeFile(vscode.Uri.file(file), Buffer.from(text));
  await vscode.window.showTextDocument(vscode.Uri.file(file));
  await offerComparison(context, [...(chosen.base === undefined ? [] : [chosen.base]), ...chosen.models], file);
};

/** Compare reads all weights, which takes as long as copying the models does. */
const COMPARED_AT_ONCE_BYTES = 2 ** 31;

/** What compare says of the chosen models, beside the recipe: at once where that takes seconds, else when asked for. */
async function offerComparison(context: CommandContext, models: readonly string[], recipe: string): Promise<void> {
  const headers = await Promise.all(models.map((model) => context.library.headers(model).catch(() => undefined)));
  // A model that cannot be read is told of by the recipe's problems.
  if (headers.includes(undefined)) return;
  const bytes = headers.reduce((sum, checkpoint) => sum + (checkpoint === undefined ? 0 : describeCheckpoint(checkpoint).bytes), 0);
  const compare = vscode.l10n.t("Compare");
  const message = vscode.l10n.t("Compare these models beside the recipe? That reads {0}.", formatBytes(bytes));
  if (bytes > COMPARED_AT_ONCE_BYTES && (await vscode.window.showInformationMessage(message, compare)) !== compare) return;
  await compareBeside(context, recipe);
}

async function pickMethod(): Promise<MergeMethod | undefined> {
  const items = methods.map((method) => ({ label: method.id, description: method.title, detail: method.summary, method }));
  const title = vscode.l10n.t("New merge recipe (1 of 4): method");
  return (
    await vscode.window.showQuickPick(items, { ignoreFocusOut: true, title, placeHolder: vscode.l10n.t("How to combine the models"), matchOnDetail: true })
  )?.method;
}

async function pickParts({ library }: CommandContext, { base: need }: MergeMethod): Promise<{ base?: string; models: readonly string[] } | undefined> {
  const needsBase = need === "required" || need === "one-of";
  const base = needsBase
    ? await pickModel(library, vscode.l10n.t("New merge recipe (2 of 4): base"), vscode.l10n.t("The model that the others were fine-tuned from"))
    : undefined;
  if (needsBase && base === undefined) return undefined;
  const models = await pickModels(
    library,
    vscode.l10n.t("New merge recipe (3 of 4): models"),
    vscode.l10n.t("The models to merge"),
    base === undefined ? [] : [base],
  );
  return models === undefined || models.length === 0 ? undefined : { ...(base && { base }), models };
}

async function askRecipeFile(folder: string, methodId: string): Promise<string | undefined> {
  const fileOf = (text: string) => join(folder, /\.ya?ml$/i.test(text) ? text : `${text}.merge.yml`);
  const answer = await vscode.window.showInputBox({
    ignoreFocusOut: true,
    title: vscode.l10n.t("New merge recipe (4 of 4): name"),
    value: methodId.replaceAll("_", "-"),
    validateInput: (text) => {
      if (text.trim() === "" || /[\\/:*?"<>|]/.test(text)) return vscode.l10n.t("A file name");
      return existsSync(fileOf(text.trim())) ? vscode.l10n.t("This file is there already") : undefined;
    },
  });
  return answer === undefined ? undefined : fileOf(answer.trim());
}

/** Puts the reference of a chosen model in the place of one that is not there, or in the gap of a text to insert. */
export const locateModel: Run = async ({ library }, uri, range, around) => {
  if (!(uri instanceof vscode.Uri) || !(range instanceof vscode.Range)) return;
  const path = await pickModel(library, vscode.l10n.t("Locate the model"), vscode.l10n.t("The model that the recipe means"));
  if (path === undefined) return;
  const edit = new vscode.WorkspaceEdit();
  const [before = "", after = ""] = Array.isArray(around) ? around.map(String) : [];
  edit.replace(uri, range, before + yamlText(referenceTo(dirname(uri.fsPath), path)) + after);
  await vscode.workspace.applyEdit(edit);
};
