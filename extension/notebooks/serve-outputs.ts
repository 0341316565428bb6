// What buttons of outputs ask for, whichever kind of output it is.
import * as vscode from "vscode";
import type { NotebookMethods, ToHost } from "../../webviews/protocol.ts";
import type { CommandContext } from "../commands/context.ts";
import { type Handlers, reply } from "../panels/page-channel.ts";
import type { ReplaceOutput } from "./cells.ts";
import { compareHandlers } from "./compare-outputs.ts";
import { frontHandlers } from "./front-outputs.ts";

const RENDERER = "weightsmith-output";

export function serveOutputs(context: CommandContext, replace: ReplaceOutput): vscode.Disposable {
  const messaging = vscode.notebooks.createRendererMessaging(RENDERER);
  return messaging.onDidReceiveMessage(async ({ editor, message }: { readonly editor: vscode.NotebookEditor; readonly message: ToHost }) => {
    if (message.kind !== "request") return;
    const { notebook } = editor;
    const handlers: Handlers<NotebookMethods> = { ...frontHandlers(context, notebook, replace), ...compareHandlers(context, notebook, replace) };
    await messaging.postMessage(await reply<NotebookMethods>(message.id, handlers, message.method, message.params, new AbortController().signal), editor);
  });
}
