// Comparing models: those of a recipe, or chosen ones, with or without the base they come from.
import { basename, dirname } from "node:path";
import * as vscode from "vscode";
import { showComparison } from "../panels/comparison-panel.ts";
import { modelPathsIn } from "../recipes/recipe-models.ts";
import { memoryOptions, threadOptions } from "../settings.ts";
import { type CommandContext, modelOf, pickModels, type Run, recipeName, uriOf } from "./context.ts";
import { runReport } from "./report.ts";

interface Comparison {
  readonly title: string;
  readonly base: string | undefined;
  readonly models: readonly string[];
  readonly cwd: string;
  readonly recipe?: string;
}

export const compareModels: Run = async (context, argument, selected) => {
  const comparison = (await comparisonOf(argument)) ?? (await askComparison(context, chosenPaths(argument, selected)));
  if (comparison === undefined) return;
  await show(context, comparison);
};

/** The comparison of a new recipe's models beside it; undefined for less than two of them, which compare with nothing. */
export async function compareBeside(context: CommandContext, recipe: string): Promise<void> {
  const comparison = await comparisonOf(vscode.Uri.file(recipe));
  if (comparison !== undefined && comparison.models.length + (comparison.base === undefined ? 0 : 1) > 1)
    await show(context, comparison, vscode.ViewColumn.Beside);
}

async function show(context: CommandContext, { title, base, models, cwd, recipe }: Comparison, column?: vscode.ViewColumn): Promise<void> {
  const args = ["compare", ...(base === undefined ? [] : [`--base=${base}`]), ...models, "--json", ...memoryOptions(), ...threadOptions()];
  const json = await runReport(context, { doing: vscode.l10n.t("Comparing {0}", title), args, cwd });
  await showComparison(context.extension, vscode.l10n.t("Comparison of {0}", title), json, recipe, column);
}

/** What a recipe compares: its models with its base. Undefined for anything else. */
async function comparisonOf(argument: unknown): Promise<Comparison | undefined> {
  const uri = uriOf(argument);
  if (uri === undefined || !/\.ya?ml$/i.test(uri.path)) return undefined;
  const text = (await vscode.workspace.openTextDocument(uri)).getText();
  const paths = modelPathsIn(text, uri.fsPath);
  const [base] = modelPathsIn(/^base_model\s*:.*$/m.exec(text)?.[0] ?? "", uri.fsPath);
  return { title: recipeName(uri.fsPath), base, models: paths.filter((path) => path !== base), cwd: dirname(uri.fsPath), recipe: uri.fsPath };
}

/** Models given by the explorer or the models' tree, one or several. A tensor file of a folder stands for the folder's model. */
function chosenPaths(argument: unknown, selected: unknown): string[] {
  const all = Array.isArray(selected) && selected.length > 0 ? selected : [argument];
  return all.flatMap((item) => modelOf(item)?.path ?? uriOf(item)?.fsPath ?? []);
}

async function askComparison({ library }: CommandContext, given: readonly string[]): Promise<Comparison | undefined> {
  const title = vscode.l10n.t("Compare models");
  const added = given.length > 1 ? [] : await pickModels(library, title, vscode.l10n.t("The models to compare"), given);
  const paths = [...given, ...(added ?? [])];
  if (added === undefined || paths.length < 2) return undefined;
  const none = { label: vscode.l10n.t("No base: compare the weights themselves"), path: undefined };
  const items = [none, ...paths.map((path) => ({ label: basename(path), description: path, path }))];
  const base = await vscode.window.showQuickPick(items, {
    title,
    placeHolder: vscode.l10n.t("The base that the others were trained from"),
    matchOnDescription: true,
  });
  if (base === undefined) return undefined;
  return {
    title: paths.map((path) => basename(path)).join(", "),
    base: base.path,
    models: paths.filter((path) => path !== base.path),
    cwd: dirname(paths[0] ?? ""),
  };
}
