// Numbers behind a picture, as text.
import { element, textTable } from "./dom.ts";

export interface Table {
  readonly header: string[];
  readonly rows: string[][];
}

/** Rows that a page can hold without becoming slow. */
const MOST_ROWS = 1000;

/** A table as an element that scrolls sideways, reachable by keyboard for that; columns after the first are set right. */
export function dataTable(caption: string, { header, rows }: Table): HTMLElement {
  const numeric = header.map((_, i) => i).slice(1);
  const title = rows.length > MOST_ROWS ? `${caption}: the first ${MOST_ROWS} of ${rows.length} rows; the exports have all` : caption;
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, textTable(title, header, rows.slice(0, MOST_ROWS), numeric));
}

/** Folded behind a summary, made when it is opened for the first time. */
export function folded(summary: string, content: () => HTMLElement): HTMLDetailsElement {
  const details = element("details", {}, element("summary", {}, summary));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(content());
  });
  return details;
}
