// What commands work with, and the questions several of them ask.
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import * as vscode from "vscode";
import type { Jobs } from "../jobs/jobs.ts";
import type { FoundModel } from "../models/find-models.ts";
import type { ModelLibrary } from "../models/library.ts";

export interface CommandContext {
  readonly extension: vscode.ExtensionContext;
  readonly jobs: Jobs;
  readonly library: ModelLibrary;
  readonly log: vscode.LogOutputChannel;
  /** Shows text that is no file in a read-only tab. */
  showText(title: string, text: string): Promise<void>;
}

/** One entry of the palette, the views or the menus. */
export type Run = (context: CommandContext, ...args: unknown[]) => Promise<void> | void;

/** The resource a command was called with: a URI from the explorer, or a node of the models' tree. */
export function uriOf(argument: unknown): vscode.Uri | undefined {
  if (argument instanceof vscode.Uri) return argument;
  const model = modelOf(argument);
  return model && vscode.Uri.file(model.path);
}

/** The model of a node of the models' tree. */
export function modelOf(argument: unknown): FoundModel | undefined {
  return typeof argument === "object" && argument !== null && "kind" in argument && argument.kind === "model" && "model" in argument
    ? (argument.model as FoundModel)
    : undefined;
}

interface ModelItem extends vscode.QuickPickItem {
  readonly path?: string;
}

const browse = (): ModelItem => ({ label: `$(folder-opened) ${vscode.l10n.t("Browse...")}`, alwaysShow: true });

async function modelItems(library: ModelLibrary): Promise<ModelItem[]> {
  const models = await library.all();
  return models.map(({ name, path }) => ({ label: name, description: path, path }));
}

/** One model out of those in reach that fit, or any folder or file; undefined if the user thinks better of it. */
export async function pickModel(
  library: ModelLibrary,
  title: string,
  placeHolder: string,
  fits: (path: string) => boolean = () => true,
): Promise<string | undefined> {
  const items = (await modelItems(library)).filter(({ path }) => path === undefined || fits(path));
  const picked = await vscode.window.showQuickPick([...items, browse()], { ignoreFocusOut: true, title, placeHolder, matchOnDescription: true });
  return picked === undefined ? undefined : (picked.path ?? (await browseModels(title, false))[0]);
}

/** Whether a model is an adapter, which holds changes of another. */
export const isAdapter = (path: string): boolean => existsSync(join(path, "adapter_config.json"));

export const isWhole = (path: string): boolean => !isAdapter(path);

/** Several models; without any in reach the dialog opens at once. */
export async function pickModels(
  library: ModelLibrary,
  title: string,
  placeHolder: string,
  except: readonly string[] = [],
  fits: (path: string) => boolean = () => true,
): Promise<readonly string[] | undefined> {
  const items = (await modelItems(library)).filter(({ path }) => path === undefined || (!except.includes(path) && fits(path)));
  if (items.length === 0) return browseModels(title, true);
  const picked = await vscode.window.showQuickPick([...items, browse()], {
    ignoreFocusOut: true,
    title,
    placeHolder,
    canPickMany: true,
    matchOnDescription: true,
  });
  if (picked === undefined) return undefined;
  const known = picked.flatMap(({ path }) => path ?? []);
  return picked.some(({ path }) => path === undefined) ? [...known, ...(await browseModels(title, true))] : known;
}

async function browseModels(title: string, many: boolean): Promise<string[]> {
  const uris = await vscode.window.showOpenDialog({ title, canSelectFolders: true, canSelectFiles: true, canSelectMany: many });
  return (uris ?? []).map(({ fsPath }) => fsPath);
}

/** Whether work that writes files may start; says why not. */
export function isAllowed(): boolean {
  if (vscode.workspace.isTrusted) return true;
  void vscode.window.showWarningMessage(vscode.l10n.t("Weightsmith runs nothing in a folder that is not trusted. Files can be looked at."));
  return false;
}

/** The name of a recipe without its endings. */
export const recipeName = (path: string): string => basename(path).replace(/(\.merge)?\.ya?ml$/i, "");
