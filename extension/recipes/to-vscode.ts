// The library's values as the editor's.
import * as vscode from "vscode";
import type { Diagnostic, Severity, SourceRange } from "../../merge-core/diagnostics.ts";

const SEVERITIES: Readonly<Record<Severity, vscode.DiagnosticSeverity>> = {
  error: vscode.DiagnosticSeverity.Error,
  warning: vscode.DiagnosticSeverity.Warning,
  info: vscode.DiagnosticSeverity.Information,
};

/** A range of a diagnostic as the editor's. */
export function toRange(range: SourceRange): vscode.Range {
  return new vscode.Range(range.line, range.column, range.endLine, range.endColumn);
}

/** An editor's problem, which keeps the diagnostic that it shows for the quick fixes. */
export class RecipeProblem extends vscode.Diagnostic {
  readonly diagnostic: Diagnostic;

  constructor(diagnostic: Diagnostic) {
    const { message, found, expected, remedy, notes = [] } = diagnostic;
    const values = [found === undefined ? "" : `found ${found}`, expected === undefined ? "" : `expected ${expected}`].filter(Boolean).join(", ");
    super(
      diagnostic.range === undefined ? new vscode.Range(0, 0, 0, 0) : toRange(diagnostic.range),
      [[message, values, remedy ?? ""].filter(Boolean).join("; "), ...notes].join("\n"),
      SEVERITIES[diagnostic.severity],
    );
    this.diagnostic = diagnostic;
    this.code = diagnostic.code;
    this.source = "weightsmith";
  }
}
