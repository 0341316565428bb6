// A chart with all that belongs to it: keyboard cursor, the table behind it, export. One code for every page.
import { addCursor, type Cursor } from "./cursor.ts";
import { element } from "./dom.ts";
import { standaloneSvg, toCsv, toJson, toPng } from "./export.ts";
import { messageOf } from "./problem.ts";
import { liveChart } from "./responsive.ts";
import { saveBlob, saveFile } from "./save.ts";
import { dataTable, folded, type Table } from "./table.ts";

export interface ChartFigure {
  /** Name of exported files, without ending. */
  readonly name: string;
  readonly caption: string;
  readonly widest: number;
  readonly draw: (width: number) => SVGSVGElement;
  /** The numbers as they are now. */
  readonly table: () => Table;
  /** What JSON export writes; the table's cells without it. */
  readonly data?: () => unknown;
  readonly cursor?: Cursor;
  /** What is on the page, where it is more than the picture: a canvas below it. The export is drawn by `draw`. */
  readonly show?: (width: number) => Element;
}

export interface LiveFigure {
  readonly element: HTMLElement;
  redraw(): void;
}

/** A chart that follows the width of its place, with cursor, table and exports. */
export function chartFigure(figure: ChartFigure): LiveFigure {
  const chart = liveChart(figure.show ?? figure.draw, figure.widest);
  const readout = figure.cursor && addCursor(chart.element, figure.cursor);
  let table: HTMLElement | undefined;
  const details = folded("Table and export", () => {
    table = element("div");
    fill();
    return element(
      "div",
      {},
      exportBar(figure, () => chart.element.clientWidth),
      table,
    );
  });
  const fill = () => table?.replaceChildren(dataTable(figure.caption, figure.table()));
  return {
    element: element("figure", {}, chart.element, readout, details),
    redraw() {
      chart.redraw();
      fill();
    },
  };
}

/** Buttons that write the picture or its numbers. */
function exportBar(figure: ChartFigure, width: () => number): HTMLElement {
  const { name } = figure;
  const problem = element("span", { class: "soft", role: "status" });
  // Styles apply to what is in the document, or in the same root of an output, only.
  const picture = <T>(use: (svg: SVGSVGElement) => T): T => {
    const svg = figure.draw(Math.max(320, Math.min(figure.widest, width())));
    const holder = element("div", { class: "offscreen", "aria-hidden": "true" }, svg);
    const root = problem.getRootNode();
    (root instanceof ShadowRoot ? root : document.body).append(holder);
    try {
      return use(svg);
    } finally {
      holder.remove();
    }
  };
  const png = async () => {
    try {
      saveBlob(`${name}.png`, await picture(toPng));
    } catch (error) {
      problem.textContent = messageOf(error);
    }
  };
  const { table, data = table } = figure;
  const actions: readonly [string, () => void][] = [
    ["SVG", () => saveFile(`${name}.svg`, picture(standaloneSvg), "image/svg+xml")],
    ["PNG", () => void png()],
    ["CSV", () => saveFile(`${name}.csv`, toCsv(table()), "text/csv")],
    ["JSON", () => saveFile(`${name}.json`, toJson(data()), "application/json")],
  ];
  return element("p", { class: "exports" }, ...actions.map(([title, act]) => button(`Save ${title}`, act)), problem);
}

/** A button that acts when it is chosen. */
export function button(title: string, act: () => void, attributes: Readonly<Record<string, string>> = {}): HTMLButtonElement {
  const made = element("button", { type: "button", ...attributes }, title);
  made.addEventListener("click", act);
  return made;
}
