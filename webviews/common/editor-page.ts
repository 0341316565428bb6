// A page that lives in the editor: its colours, and its exports through the host.
import type { ExportMethods } from "../protocol.ts";
import { adoptStyles, element } from "./dom.ts";
import theme from "./editor-theme.css";
import type { Host } from "./host.ts";
import { saveThrough } from "./save.ts";

/** Takes the editor's colours, and exports through it. */
export function useEditor(host: Host<ExportMethods>): void {
  adoptStyles(theme);
  saveThrough((name, content) => {
    void content.arrayBuffer().then((buffer) => host.request("save", { name, bytes: new Uint8Array(buffer) }));
  });
}

/** What a page shows before it has its data. */
export const loading = (what: string): HTMLElement => element("p", { class: "soft waiting", role: "status" }, what);
