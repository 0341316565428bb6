// What went wrong in runs, as problems of the files they name, until the file changes or the run is started again.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import * as vscode from "vscode";
import { RecipeProblem } from "../recipes/to-vscode.ts";
import type { Job, Jobs } from "./jobs.ts";

/** Shows what failed runs say of files among the problems. */
export function showJobProblems(jobs: Jobs): vscode.Disposable {
  const collection = vscode.languages.createDiagnosticCollection("weightsmith-runs");
  /** The run that each file's problems come from. */
  const owners = new Map<string, string>();
  const forget = (key: string, uri: vscode.Uri) => {
    owners.delete(key);
    collection.delete(uri);
  };
  const tell = (job: Job) => {
    if (job.status !== "failed") return;
    for (const [key, problems] of problemsByFile(job)) {
      const uri = vscode.Uri.file(key);
      // What the editor finds in an open recipe by itself is told once.
      const known = new Set((owners.has(key) ? [] : vscode.languages.getDiagnostics(uri)).map(({ code, message }) => `${String(code)}\n${message}`));
      collection.set(
        uri,
        problems.filter(({ code, message }) => !known.has(`${String(code)}\n${message}`)),
      );
      owners.set(key, job.record.id);
    }
  };
  const clear = () => {
    for (const [key, id] of owners) if (jobs.find(id)?.status !== "failed") forget(key, vscode.Uri.file(key));
  };
  const onChange = ({ document }: vscode.TextDocumentChangeEvent) => {
    if (owners.has(document.uri.fsPath)) forget(document.uri.fsPath, document.uri);
  };
  return vscode.Disposable.from(collection, jobs.onDidEnd(tell), jobs.onDidChange(clear), vscode.workspace.onDidChangeTextDocument(onChange));
}

/** Problems by the absolute path of their file; those of no file, or of one that is not there, are for the log. */
function problemsByFile({ record, diagnostics }: Job): Map<string, RecipeProblem[]> {
  const found = new Map<string, RecipeProblem[]>();
  for (const diagnostic of diagnostics) {
    const path = diagnostic.file === undefined ? undefined : resolve(record.cwd, diagnostic.file);
    if (path !== undefined && existsSync(path)) found.set(path, [...(found.get(path) ?? []), new RecipeProblem(diagnostic)]);
  }
  return found;
}
