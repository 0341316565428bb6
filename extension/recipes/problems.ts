// Problems of open recipes: what the text shows at once, what the models' headers show a moment later.
import * as vscode from "vscode";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { parseRecipeFile } from "../../merge-core/recipe/stages.ts";
import type { ModelLibrary } from "../models/library.ts";
import { checksModels } from "../settings.ts";
import { isRecipeDocument } from "./features.ts";
import { planProblems } from "./plan-problems.ts";
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
    const parsed = parseRecipeFile(document.getText(), document.fileName);
    this.#show(document.uri, parsed.diagnostics);
    if (parsed.final === undefined || document.uri.scheme !== "file" || !checksModels()) return;
    const { version } = document;
    const plan = async () => {
      const found = await planProblems(parsed, document.fileName, this.#library);
      if (document.version === version && !document.isClosed) this.#show(document.uri, [...parsed.diagnostics, ...found]);
    };
    this.#timers.set(
      key,
      setTimeout(() => void plan(), PLAN_DELAY_MS),
    );
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
