// Commands that make adapters out of others, or out of a fine-tuned model.
import { basename, dirname } from "node:path";
import * as vscode from "vscode";
import { memoryOptions, threadOptions } from "../settings.ts";
import { type CommandContext, isAdapter, isAllowed, isWhole, modelOf, pickModel, pickModels, type Run, uriOf } from "./context.ts";
import { askOutput } from "./output-folder.ts";

/** Ways to combine adapters, of those the command line has, each with what it does. */
export const WAYS: Readonly<Record<string, string>> = {
  exact: vscode.l10n.t("Adds the changes up. Ranks add up, and nothing is lost."),
  svd: vscode.l10n.t("The sum at one rank, by singular values. How much is lost is told."),
  ties: vscode.l10n.t("Trims the factors, elects signs, adds up what agrees."),
  dare_ties: vscode.l10n.t("Drops elements of the factors at random, rescales, then as ties."),
  ties_svd: vscode.l10n.t("As ties, on the changes themselves instead of the factors."),
  linear: vscode.l10n.t("Adds the factors up one by one, as PEFT does."),
  knots: vscode.l10n.t("Aligns the changes by one joint decomposition (KnOTS), then merges them as TIES does. Ranks add up."),
  pcb: vscode.l10n.t("Keeps the elements that score best by size and agreement (PCB), at one rank."),
  average: vscode.l10n.t("The mean of the factors: right for checkpoints of one training run. Of rotations a rotation."),
};

export const mergeAdapters: Run = async ({ jobs, library }, _argument, selected) => {
  if (!isAllowed()) return;
  const title = vscode.l10n.t("Merge adapters");
  const given = (Array.isArray(selected) && selected.length > 1 ? selected : []).flatMap((item) => modelOf(item)?.path ?? uriOf(item)?.fsPath ?? []);
  const adapters = given.length > 1 ? given : await pickModels(library, title, vscode.l10n.t("The adapters to merge"), [], isAdapter);
  if (adapters === undefined || adapters.length === 0) return;
  if (adapters.length < 2) throw new Error(vscode.l10n.t("Choose at least two adapters."));
  const items = Object.entries(WAYS).map(([label, detail]) => ({ label, detail }));
  const way = (
    await vscode.window.showQuickPick(items, { ignoreFocusOut: true, title, placeHolder: vscode.l10n.t("How to combine the adapters"), matchOnDetail: true })
  )?.label;
  const rank = way === "svd" || way?.endsWith("_svd") || way === "pcb" ? await askRank(title, 16) : "";
  if (way === undefined || rank === undefined) return;
  const weights = await askWeights(title, adapters, way);
  if (weights === undefined) return;
  const folder = dirname(adapters[0] ?? "");
  const output = await askOutput(folder, `${adapters.map((path) => basename(path)).join("-")}-${way.replaceAll("_", "-")}`.slice(0, 80));
  if (output === undefined) return;
  const options = [`--weights=${weights}`, ...(rank === "" ? [] : ["--rank", rank]), ...memoryOptions(), ...threadOptions()];
  const args = [...adapters, "--method", way, "--out", output.path, ...options, ...(output.replace ? ["--overwrite"] : [])];
  await start(jobs, "adapter merge", basename(output.path), args, output.path);
};

/** The weight of each adapter, as the command line takes them. */
function askWeights(title: string, adapters: readonly string[], way: string): Thenable<string | undefined> {
  const value = adapters.map(() => (way === "average" ? Number((1 / adapters.length).toFixed(4)) : way === "pcb" ? 1.2 : 1)).join(",");
  return vscode.window.showInputBox({
    ignoreFocusOut: true,
    title,
    prompt: vscode.l10n.t("Weights of {0}, in this order", adapters.map((path) => basename(path)).join(", ")),
    value,
    validateInput: (text) => {
      const words = text.split(",");
      const valid = words.length === adapters.length && words.every((word) => word.trim() !== "" && Number.isFinite(Number(word)));
      return valid ? undefined : vscode.l10n.t("{0} numbers with commas between them", adapters.length);
    },
  });
}

function askRank(title: string, value: number): Thenable<string | undefined> {
  const validateInput = (text: string) => (/^[1-9]\d{0,4}$/.test(text.trim()) ? undefined : vscode.l10n.t("A whole number above 0"));
  return vscode.window.showInputBox({
    ignoreFocusOut: true,
    title,
    prompt: vscode.l10n.t("Rank of the adapter: more keeps more, and takes more room"),
    value: String(value),
    validateInput,
  });
}

export const extractAdapter: Run = async ({ jobs, library }, argument) => {
  if (!isAllowed()) return;
  const title = vscode.l10n.t("Extract an adapter");
  const model = uriOf(argument)?.fsPath ?? (await pickModel(library, title, vscode.l10n.t("The fine-tuned model"), isWhole));
  const base = model === undefined ? undefined : await pickModel(library, title, vscode.l10n.t("The base that it was fine-tuned from"), isWhole);
  if (model === undefined || base === undefined) return;
  const rank = await askRank(title, 32);
  if (rank === undefined) return;
  const output = await askOutput(dirname(model), `${basename(model)}-rank-${rank.trim()}`);
  if (output === undefined) return;
  const args = [base, model, output.path, "--rank", rank.trim(), ...memoryOptions(), ...threadOptions(), ...(output.replace ? ["--overwrite"] : [])];
  await start(jobs, "adapter extract", basename(model), args, output.path);
};

async function start(jobs: CommandContext["jobs"], verb: string, title: string, args: readonly string[], output: string): Promise<void> {
  jobs.start({ verb, title, args, cwd: dirname(output), output });
  await vscode.commands.executeCommand("weightsmith.runs.focus");
}
