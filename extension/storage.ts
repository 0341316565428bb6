// Where the extension keeps what belongs to the open folder.
import { basename, dirname, join } from "node:path";
import type { ExtensionContext } from "vscode";

/** What is kept for the open folder: in the same place in each of its windows, and after a reload. */
export const storageOf = ({ storageUri, globalStorageUri }: ExtensionContext): string =>
  storageUri === undefined ? globalStorageUri.fsPath : commonStorage(storageUri.fsPath);

/**
 * While another extension host holds the storage of a folder, as another window does and for a while the window before a reload, the editor
 * gives one beside it, `<id>-1` for `<id>`: runs would be lost to sight. @param path `<id>/<extension>`
 */
export function commonStorage(path: string): string {
  const workspace = dirname(path);
  return join(dirname(workspace), basename(workspace).replace(/(?<=.)-\d$/, ""), basename(path));
}
