// Problems of open recipes: what the text shows at once, what the models' headers show a moment later.
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import * as vscode from "vscode";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener, type OpenModel } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipeFile } from "../../merge-core/recipe/stages.ts";
import { planStages } from "../../merge-core/run/plan-stages.ts";
import type { ModelLibrary } from "../models/library.ts";
import { diagnosticsOf } from "../panels/page-channel.ts";
import { checksModels } from "../settings.ts";
import { isRecipeDocument } from "./features.ts";
import { RecipeProblem } from "./to-vscode.ts";

/** Planning waits until the keyboard rests. */
const PLAN_DELAY_MS = 300;

export class RecipeProblems implements vscode.Disposable {
  readonly #library: ModelLibrary;
  readonly #collection = vscode.languages.createDiagnosticCollection("weightsmith");
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #subscriptions: vscode.Disposable;

  constructor(library: ModelLibrary) {
    this.#library = library;
    const { workspace } = vscode;
    this.#subscriptions = vscode.Disposable.from(
      workspace.onDidOpenTextDocument((document) => this.#check(document)),
      workspace.onDidChangeTextDocument(({ document }) => this.#check(document)),
      workspace.onDidCloseTextDocument(({ uri }) => this.#forget(uri)),
      workspace.onDidChangeConfiguration((change) => change.affectsConfiguration("weightsmith") && this.checkAll()),
      library.onDidChange(() => this.checkAll()),
    );
    this.checkAll();
  }

  checkAll(): void {
    for (const document of vscode.workspace.textDocuments) this.#check(document);
  }

  #check(document: vscode.TextDocument): void {
    if (!isRecipeDocument(document)) {
      this.#forget(document.uri);
      return;
    }
    const key = document.uri.toString();
    clearTimeout(this.#timers.get(key));
    const { stages = [], final, diagnostics } = parseRecipeFile(document.getText(), document.fileName);
    this.#show(document.uri, diagnostics);
    if (final === undefined || document.uri.scheme !== "file" || !checksModels()) return;
    const { version } = document;
    const plan = async () => {
      const open = this.#opener(document.fileName);
      const planning = stages.length === 1 ? planMerge(final.recipe, open) : planStages({ stages, final, open, options: {} }, `${document.fileName}.stages`);
      const found = await planning.then((result) => result.diagnostics, diagnosticsOf);
      if (document.version === version && !document.isClosed) this.#show(document.uri, [...diagnostics, ...found]);
    };
    this.#timers.set(
      key,
      setTimeout(() => void plan(), PLAN_DELAY_MS),
    );
  }

  /** Models beside the recipe, their headers read once. Runs start in the recipe's folder, so that is what paths are relative to. */
  #opener(recipeFile: string): OpenModel {
    const open = modelOpener(recipeFile);
    return (reference) => {
      const path = resolve(dirname(recipeFile), reference.path);
      return existsSync(path) ? this.#library.remember(`${path}\n${reference.text}`, () => open({ ...reference, path })) : open(reference);
    };
  }

  #show(uri: vscode.Uri, diagnostics: readonly Diagnostic[]): void {
    this.#collection.set(
      uri,
      diagnostics.map((diagnostic) => new RecipeProblem(diagnostic)),
    );
  }

  #forget(uri: vscode.Uri): void {
    clearTimeout(this.#timers.get(uri.toString()));
    this.#timers.delete(uri.toString());
    this.#collection.delete(uri);
  }

  dispose(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#subscriptions.dispose();
    this.#collection.dispose();
  }
}
