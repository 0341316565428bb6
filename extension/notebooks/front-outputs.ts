// Outputs of searches in notebooks: what their buttons ask for, and the output that follows a point that was measured.
import { dirname, resolve } from "node:path";
import type * as vscode from "vscode";
import type { ParetoOutput } from "../../merge-core/notebook/cell-output.ts";
import type { FrontOutputMethods } from "../../webviews/protocol.ts";
import type { CommandContext } from "../commands/context.ts";
import { evaluatePoint, readFront, recipeAt, writeMerge } from "../editors/front-work.ts";
import type { Handlers } from "../panels/page-channel.ts";
import { outputOfCell, type ReplaceOutput } from "./cells.ts";

/** Answers for the outputs of searches in a notebook. */
export function frontHandlers(context: CommandContext, notebook: vscode.NotebookDocument, replace: ReplaceOutput): Handlers<FrontOutputMethods> {
  const fileOf = (front: string) => resolve(dirname(notebook.uri.fsPath), front);
  return {
    recipeAt: ({ front, coefficients }, signal) => recipeAt(context, fileOf(front), coefficients, signal),
    writeMerge: async ({ front, coefficients }, signal) => writeMerge(context, fileOf(front), await readFront(fileOf(front)), coefficients, signal),
    evaluate: ({ front, coefficients }) => {
      const id = evaluatePoint(context, fileOf(front), coefficients);
      const ended = context.jobs.onDidEnd(({ record, status }) => {
        if (record.id !== id) return;
        ended.dispose();
        if (status === "done") void renew(notebook, front, fileOf(front), replace);
      });
      if (id === undefined) ended.dispose();
      return undefined;
    },
  };
}

/** Shows the file as it is now where an older state of it is shown. */
async function renew(notebook: vscode.NotebookDocument, front: string, file: string, replace: ReplaceOutput): Promise<void> {
  for (const cell of notebook.getCells()) {
    const shown = outputOfCell(cell);
    if (shown?.kind === "pareto" && shown.out === front) await replace(cell, { ...shown, front: await readFront(file) } satisfies ParetoOutput);
  }
}
