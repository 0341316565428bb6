// Outputs of searches in notebooks: what their buttons ask for, and the output that follows a point that was measured.
import { dirname, resolve } from "node:path";
import * as vscode from "vscode";
import { type CellOutput, OUTPUT_MIME, type ParetoOutput } from "../../merge-core/notebook/cell-output.ts";
import type { NotebookMethods, ToHost } from "../../webviews/protocol.ts";
import type { CommandContext } from "../commands/context.ts";
import { evaluatePoint, readFront, recipeAt, writeMerge } from "../editors/front-work.ts";
import { type Handlers, reply } from "../panels/page-channel.ts";

const RENDERER = "weightsmith-output";

/** @param replace shows another output of a cell */
export function serveFrontOutputs(context: CommandContext, replace: (cell: vscode.NotebookCell, output: CellOutput) => Promise<void>): vscode.Disposable {
  const messaging = vscode.notebooks.createRendererMessaging(RENDERER);
  return messaging.onDidReceiveMessage(async ({ editor, message }: { readonly editor: vscode.NotebookEditor; readonly message: ToHost }) => {
    if (message.kind !== "request") return;
    const handlers = handlersFor(context, editor.notebook, replace);
    await messaging.postMessage(await reply<NotebookMethods>(message.id, handlers, message.method, message.params, new AbortController().signal), editor);
  });
}

function handlersFor(context: CommandContext, notebook: vscode.NotebookDocument, replace: Parameters<typeof serveFrontOutputs>[1]): Handlers<NotebookMethods> {
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
async function renew(notebook: vscode.NotebookDocument, front: string, file: string, replace: Parameters<typeof serveFrontOutputs>[1]): Promise<void> {
  for (const cell of notebook.getCells()) {
    const shown = outputOfCell(cell);
    if (shown?.kind === "pareto" && shown.out === front) await replace(cell, { ...shown, front: await readFront(file) } satisfies ParetoOutput);
  }
}

/** What a cell shows, as it was given. */
export function outputOfCell(cell: vscode.NotebookCell): CellOutput | undefined {
  const item = cell.outputs.flatMap(({ items }) => items).find(({ mime }) => mime === OUTPUT_MIME);
  return item === undefined ? undefined : (JSON.parse(new TextDecoder().decode(item.data)) as CellOutput);
}
