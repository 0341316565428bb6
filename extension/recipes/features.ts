// Completion, hover, lenses, fixes and outline of recipes: adapters between the editor and the pure parts beside this file.
import { dirname } from "node:path";
import * as vscode from "vscode";
import { describeCheckpoint } from "../../merge-core/checkpoints/describe.ts";
import { formatBytes, formatCount } from "../../merge-core/units.ts";
import type { ModelLibrary } from "../models/library.ts";
import { completeRecipe, filterWords, type Proposal } from "./complete.ts";
import { hoverRecipe } from "./hover.ts";
import { outlineRecipe } from "./outline.ts";
import { modelPath, modelPathsIn, referenceTo } from "./recipe-models.ts";
import { isRecipe } from "./recipe-text.ts";
import { RecipeProblem, toRange } from "./to-vscode.ts";

export const YAML: vscode.DocumentSelector = [{ language: "yaml" }, { pattern: "**/*.merge.{yml,yaml}" }];

/** Whether a document is a recipe, by its name or what it holds. */
export function isRecipeDocument(document: vscode.TextDocument): boolean {
  return isRecipe(document.fileName, document.languageId, document.getText(new vscode.Range(0, 0, 2000, 0)));
}

/** Completion, hovers, lenses, outline and quick fixes of recipes. */
export function registerRecipeFeatures(context: vscode.ExtensionContext, library: ModelLibrary): void {
  const { languages } = vscode;
  context.subscriptions.push(
    languages.registerCompletionItemProvider(YAML, { provideCompletionItems: (document, position) => complete(document, position, library) }, " ", "/", "-"),
    languages.registerHoverProvider(YAML, { provideHover: (document, position) => hover(document, position, library) }),
    languages.registerCodeLensProvider(YAML, { provideCodeLenses: lenses }),
    languages.registerCodeActionsProvider(YAML, { provideCodeActions: fixes }, { providedCodeActionKinds: [vscode.CodeActionKind.QuickFix] }),
    languages.registerDocumentSymbolProvider(YAML, { provideDocumentSymbols: outline }, { label: "Weightsmith" }),
  );
}

const KINDS: Readonly<Record<Proposal["kind"], vscode.CompletionItemKind>> = {
  key: vscode.CompletionItemKind.Property,
  method: vscode.CompletionItemKind.Function,
  parameter: vscode.CompletionItemKind.Variable,
  value: vscode.CompletionItemKind.Value,
  model: vscode.CompletionItemKind.Folder,
  filter: vscode.CompletionItemKind.Text,
};

async function complete(document: vscode.TextDocument, position: vscode.Position, library: ModelLibrary): Promise<vscode.CompletionItem[]> {
  if (!isRecipeDocument(document)) return [];
  const text = document.getText();
  const folder = dirname(document.fileName);
  const models = (await library.all()).map((model) => ({ reference: referenceTo(folder, model.path), detail: model.name }));
  const { start, proposals } = completeRecipe(text, document.offsetAt(position), { models, filters: await filtersOf(document, library) });
  const range = new vscode.Range(document.positionAt(start), position);
  return proposals.map((proposal, i) => completionItem(proposal, range, i));
}

function completionItem(proposal: Proposal, range: vscode.Range, place: number): vscode.CompletionItem {
  const item = new vscode.CompletionItem({ label: proposal.label, ...(proposal.detail && { description: proposal.detail }) }, KINDS[proposal.kind]);
  item.insertText = proposal.text;
  item.range = range;
  item.sortText = String(place).padStart(4, "0");
  item.filterText = proposal.label;
  if (proposal.documentation) item.documentation = new vscode.MarkdownString(proposal.documentation);
  // After a key comes its value, so the next list opens at once.
  if (proposal.text.endsWith(": ")) item.command = { command: "editor.action.triggerSuggest", title: "" };
  return item;
}

/** Words of the tensor names of the first model of the recipe that can be read. */
async function filtersOf(document: vscode.TextDocument, library: ModelLibrary): Promise<string[]> {
  const checkpoint = await firstHeaders(document, library);
  return checkpoint === undefined ? [] : filterWords(checkpoint.tensors.keys());
}

async function firstHeaders(document: vscode.TextDocument, library: ModelLibrary) {
  for (const path of modelPathsIn(document.getText(), document.fileName)) {
    const checkpoint = await library.headers(path).catch(() => undefined);
    if (checkpoint !== undefined) return checkpoint;
  }
  return undefined;
}

async function hover(document: vscode.TextDocument, position: vscode.Position, library: ModelLibrary): Promise<vscode.Hover | undefined> {
  if (!isRecipeDocument(document)) return undefined;
  const found = await hoverRecipe(document.getText(), document.offsetAt(position), {
    model: (reference) => modelLine(document, reference, library),
    layers: async () => {
      const checkpoint = await firstHeaders(document, library);
      return checkpoint && describeCheckpoint(checkpoint).layers;
    },
  });
  if (found === undefined) return undefined;
  return new vscode.Hover(new vscode.MarkdownString(found.text), new vscode.Range(document.positionAt(found.start), document.positionAt(found.end)));
}

async function modelLine(document: vscode.TextDocument, reference: string, library: ModelLibrary): Promise<string | undefined> {
  const path = modelPath(dirname(document.fileName), reference);
  const checkpoint = path === undefined ? undefined : await library.headers(path).catch(() => undefined);
  if (checkpoint === undefined) return undefined;
  const { parameters, bytes, layers, byDtype, tensors } = describeCheckpoint(checkpoint);
  return `**${reference}**: ${formatCount(parameters)} parameters, ${formatBytes(bytes)}, ${Object.keys(byDtype).join(", ")}, ${layers} layers, ${tensors.length} tensors`;
}

function lenses(document: vscode.TextDocument): vscode.CodeLens[] {
  // A cell of a notebook is no file that could be planned or run by itself.
  if (document.uri.scheme === "vscode-notebook-cell" || !isRecipeDocument(document)) return [];
  const at = new vscode.Range(0, 0, 0, 0);
  const lens = (title: string, command: string) => new vscode.CodeLens(at, { title, command, arguments: [document.uri] });
  return [
    lens(vscode.l10n.t("Plan"), "weightsmith.planMerge"),
    lens(vscode.l10n.t("Run"), "weightsmith.runMerge"),
    lens(vscode.l10n.t("Compare"), "weightsmith.compareModels"),
  ];
}

function fixes(document: vscode.TextDocument, _range: vscode.Range, { diagnostics }: vscode.CodeActionContext): vscode.CodeAction[] {
  const problems = diagnostics.filter((problem) => problem instanceof RecipeProblem);
  return problems.flatMap((problem) => [...appliedFix(document, problem), ...locateFix(document, problem)]);
}

function appliedFix(document: vscode.TextDocument, problem: RecipeProblem): vscode.CodeAction[] {
  const { fix } = problem.diagnostic;
  if (fix === undefined) return [];
  const action = new vscode.CodeAction(fix.model === undefined ? fix.title : `${fix.title}...`, vscode.CodeActionKind.QuickFix);
  if (fix.model === undefined) {
    action.edit = new vscode.WorkspaceEdit();
    action.edit.replace(document.uri, toRange(fix.range), fix.text);
  } else action.command = { command: "weightsmith.locateModel", title: action.title, arguments: [document.uri, toRange(fix.range), fix.text.split(fix.model)] };
  action.diagnostics = [problem];
  action.isPreferred = true;
  return [action];
}

/** A model that is not there can be pointed to. */
function locateFix(document: vscode.TextDocument, problem: RecipeProblem): vscode.CodeAction[] {
  if (problem.diagnostic.code !== "model-missing") return [];
  const action = new vscode.CodeAction(vscode.l10n.t("Locate this model..."), vscode.CodeActionKind.QuickFix);
  action.command = { command: "weightsmith.locateModel", title: action.title, arguments: [document.uri, problem.range] };
  action.diagnostics = [problem];
  return [action];
}

function outline(document: vscode.TextDocument): vscode.DocumentSymbol[] {
  if (!isRecipeDocument(document)) return [];
  return outlineRecipe(document.getText()).map(({ name, detail, range, kind }) => {
    const place = toRange(range);
    return new vscode.DocumentSymbol(name, detail, kind === "model" ? vscode.SymbolKind.Package : vscode.SymbolKind.Property, place, place);
  });
}
