// Which engines work on this machine.
import { tmpdir } from "node:os";
import * as vscode from "vscode";
import type { Run } from "./context.ts";
import { showReport } from "./report.ts";

export const showEngines: Run = (context) => showReport(context, "engines", { doing: vscode.l10n.t("Trying the engines"), args: ["doctor"], cwd: tmpdir() });
