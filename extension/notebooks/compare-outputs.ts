// Outputs of comparisons in notebooks: what their buttons ask for, and the output that follows what was measured.
import { basename, dirname } from "node:path";
import * as vscode from "vscode";
import type { Comparison } from "../../merge-core/analysis/comparison.ts";
import { inputError } from "../../merge-core/diagnostics.ts";
import { methods } from "../../merge-core/methods/registry.ts";
import type { Compared, CompareOutputMethods } from "../../webviews/protocol.ts";
import type { CommandContext } from "../commands/context.ts";
import { runReport } from "../commands/report.ts";
import { measureSpectra, measureSubspaces } from "../panels/measure-spectra.ts";
import type { Handlers } from "../panels/page-channel.ts";
import { outputOfCell, type ReplaceOutput } from "./cells.ts";
import { changeMergeCell } from "./change-merge-cell.ts";

/** Answers for the comparisons of a notebook, whose paths count from its folder. */
export function compareHandlers(context: CommandContext, notebook: vscode.NotebookDocument, replace: ReplaceOutput): Handlers<CompareOutputMethods> {
  const { fsPath } = notebook.uri;
  const cwd = dirname(fsPath);
  return {
    methods: () => methods.map(({ id }) => id),
    changeRecipe: ({ compared, change }) => {
      const { cell, comparison } = shownIn(notebook, compared)[0] ?? missing();
      return changeMergeCell(notebook, change, { comparison, after: cell.index });
    },
    spectra: ({ compared, tensor }, signal) => measureSpectra(context.extension.extensionPath, compared, tensor, { cwd, signal }),
    subspaces: async (compared) => {
      const { comparison } = shownIn(notebook, compared)[0] ?? missing();
      const doing = vscode.l10n.t("Measuring the subspaces of {0}", basename(fsPath));
      const measured = await measureSubspaces(comparison, (args) => runReport(context, { doing, args, cwd }));
      for (const { cell } of shownIn(notebook, compared)) await replace(cell, { kind: "compare", comparison: measured });
      return undefined;
    },
  };
}

/** Cells that show a comparison of the same. */
function shownIn(notebook: vscode.NotebookDocument, { base, models, density }: Compared): { cell: vscode.NotebookCell; comparison: Comparison }[] {
  const key = JSON.stringify([base, models, density]);
  return notebook.getCells().flatMap((cell) => {
    const output = outputOfCell(cell);
    if (output?.kind !== "compare") return [];
    const { comparison } = output;
    return JSON.stringify([comparison.base, comparison.models, comparison.density]) === key ? [{ cell, comparison }] : [];
  });
}

function missing(): never {
  throw inputError("notebook-output", "the notebook shows this comparison no longer", { remedy: "run the cell again" });
}
