// Unlearning: a configuration that is there, or one written by a few questions.
import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import * as vscode from "vscode";
import { referenceTo } from "../recipes/recipe-models.ts";
import { unlearnText } from "../recipes/unlearn-text.ts";
import { threadOptions } from "../settings.ts";
import { type CommandContext, isAllowed, isWhole, pickModel, type Run, uriOf } from "./context.ts";
import { askOutput, freeName } from "./output-folder.ts";
import { pickFiles, SKIPPED } from "./work.ts";

/** How to forget, of the ways the command line has, each with what it does. */
export const FORGETTING: Readonly<Record<string, string>> = {
  ssd: vscode.l10n.t("Weights that matter to what is forgotten and not to the rest are damped."),
  slug: vscode.l10n.t("One step along a gradient, in the one tensor where it costs least."),
  negate: vscode.l10n.t("The change of a model that is good at it is taken away."),
};

export const unlearnModel: Run = async (context, argument) => {
  if (!isAllowed()) return;
  const config = uriOf(argument)?.fsPath ?? (await pickConfig(context));
  if (config === undefined) return;
  const name = basename(config).replace(/(\.unlearn)?\.ya?ml$/i, "");
  const output = await askOutput(dirname(config), `${name}-unlearned`);
  if (output === undefined) return;
  const args = [config, output.path, ...threadOptions(), ...(output.replace ? ["--overwrite"] : [])];
  context.jobs.start({ verb: "unlearn", title: name, args, cwd: dirname(config), input: config, output: output.path });
  await vscode.commands.executeCommand("weightsmith.runs.focus");
};

/** A YAML file that says what to forget: one of the workspace, or a new one. */
async function pickConfig(context: CommandContext): Promise<string | undefined> {
  const found = await vscode.workspace.findFiles("**/*.{yml,yaml}", SKIPPED, 500);
  const texts = await Promise.all(found.map(async ({ fsPath }) => [fsPath, await readFile(fsPath, "utf8").catch(() => "")] as const));
  const known = texts.filter(([, text]) => /^forget\s*:/m.test(text)).map(([path]) => ({ label: vscode.workspace.asRelativePath(path), path }));
  const fresh = { label: `$(add) ${vscode.l10n.t("New...")}`, path: undefined };
  const placeHolder = vscode.l10n.t("What to forget: a YAML file, or a new one");
  const picked = known.length === 0 ? fresh : await vscode.window.showQuickPick([...known, fresh], { placeHolder });
  return picked === undefined ? undefined : (picked.path ?? writeConfig(context));
}

async function writeConfig({ library }: CommandContext): Promise<string | undefined> {
  const title = vscode.l10n.t("Unlearn");
  const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file")?.uri.fsPath;
  if (folder === undefined) throw new Error(vscode.l10n.t("Open a folder first: what to forget is written into a file in it."));
  const model = await pickModel(library, title, vscode.l10n.t("The model that is to forget"), isWhole);
  if (model === undefined) return undefined;
  const items = Object.entries(FORGETTING).map(([label, detail]) => ({ label, detail }));
  const method = (await vscode.window.showQuickPick(items, { ignoreFocusOut: true, title, placeHolder: vscode.l10n.t("How to forget"), matchOnDetail: true }))
    ?.label;
  if (method === undefined) return undefined;
  const expert = method === "negate" ? await pickModel(library, title, vscode.l10n.t("A model that is good at what is to be forgotten"), isWhole) : undefined;
  if (method === "negate" && expert === undefined) return undefined;
  const forget = await pickFiles("**/*.jsonl", vscode.l10n.t("Data to forget (JSONL)"));
  const retain = forget?.length ? await pickFiles("**/*.jsonl", vscode.l10n.t("Data to keep (JSONL)")) : undefined;
  if (forget === undefined || retain === undefined || retain.length === 0) return undefined;
  const near = (path: string) => referenceTo(folder, path);
  const text = unlearnText({ method, model: near(model), expert: expert && near(expert), forget: forget.map(near), retain: retain.map(near) });
  const file = join(folder, freeName(folder, `${basename(model)}.unlearn`, ".yml"));
  await vscode.workspace.fs.writeFile(vscode.Uri.file(file), Buffer.from(text));
  await vscode.window.showTextDocument(vscode.Uri.file(file), { preview: false });
  return file;
}
