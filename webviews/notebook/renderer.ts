// Outputs of cells in the editor's notebooks. All of them live in one page of the editor's, hence the roots of their own.
import type { CellOutput } from "../../merge-core/notebook/cell-output.ts";
import theme from "../common/editor-theme.css";
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
