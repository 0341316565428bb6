// Outputs of cells in the editor's notebooks. All of them live in one page of the editor's, hence the roots of their own.
import type { CellOutput } from "../../merge-core/notebook/cell-output.ts";
import { element } from "../common/dom.ts";
import theme from "../common/editor-theme.css";
import { saveThrough } from "../common/save.ts";
import { outputElement, problemElement } from "./output.ts";
import { adoptProperties, shadowed } from "./shadow.ts";
import { STYLES } from "./styles.ts";

interface OutputItem {
  json(): unknown;
}

const ALL = [...STYLES, theme];

/** What the editor asks of a renderer. */
export function activate(): { renderOutputItem(item: OutputItem, holder: HTMLElement): void } {
  adoptProperties(ALL);
  saveThrough(download);
  return {
    renderOutputItem(item, holder) {
      holder.replaceChildren(shadowed(ALL, drawn(item)));
    },
  };
}

function drawn(item: OutputItem): HTMLElement {
  try {
    return outputElement(item.json() as CellOutput);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return problemElement("This output cannot be shown", [{ code: "notebook-output", severity: "error", message, remedy: "run the cell again" }]);
  }
}

/** The editor sees to a download that it sees being chosen, which takes a link in the document. */
function download(name: string, content: Blob): void {
  const link = element("a", { href: URL.createObjectURL(content), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
