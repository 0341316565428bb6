// Heat maps as figures. Cells are elements, as long as they are few; beyond that they are painted on a canvas below the names.
import { cellColour, cellTitle, drawHeatmap, type Heatmap, type HeatmapLayout, layoutHeatmap, shownValue } from "../charts/heatmap.ts";
import { chartFigure, type LiveFigure } from "./chart-figure.ts";
import { type Marks, type Place, STEPS } from "./cursor.ts";
import { followTheme, layersOf, withColours } from "./layers.ts";
import { svgElement } from "./svg.ts";
import type { Table } from "./table.ts";

/** More cells than this are painted: as elements they take a page longer than a frame to draw and to move. */
export const MOST_ELEMENTS = 5000;

export interface HeatmapFigure {
  readonly name: string;
  readonly caption: string;
  readonly widest: number;
  /** What the keyboard moves over; by default the caption. */
  readonly label?: string;
  /** The map as it is now. */
  readonly map: () => Heatmap;
  /** By default the map's numbers as their cells show them. */
  readonly table?: () => Table;
  readonly data?: () => unknown;
  readonly choose?: (row: number, column: number, add: boolean) => void;
}

export function heatmapFigure({ name, caption, widest, label = caption, map, table = () => heatmapTable(map()), data, choose }: HeatmapFigure): LiveFigure {
  let painted: PaintedHeatmap | undefined;
  const show = (width: number) => {
    const now = map();
    painted = now.rows.length * now.columns.length > MOST_ELEMENTS ? new PaintedHeatmap(now, width) : undefined;
    return painted?.element ?? drawHeatmap(now, { width });
  };
  const cursor = { marks: ".cell", label, painted: () => painted, ...(choose && { choose }) };
  const figure = chartFigure({ name, caption, widest, draw: (width) => drawHeatmap(map(), { width }), show, table, ...(data && { data }), cursor });
  followTheme(figure.element, () => painted?.paint());
  return figure;
}

/** A heat map's numbers. */
export const heatmapTable = (map: Heatmap): Table => ({
  header: ["", ...map.columns],
  rows: map.rows.map((row) => [row.label, ...row.values.map((value) => shownValue(map, value))]),
});

/** Cells on a canvas. Two elements stand for those that are pointed at: one is under the cursor of the keyboard, one under the pointer. */
class PaintedHeatmap implements Marks {
  readonly element: HTMLElement;
  readonly #map: Heatmap;
  readonly #layout: HeatmapLayout;
  readonly #svg: SVGSVGElement;
  readonly #layers;
  readonly #atCursor = standIn("cell stand-in");
  readonly #atPointer = standIn("under stand-in");

  constructor(map: Heatmap, width: number) {
    this.#map = map;
    this.#layout = layoutHeatmap(map, width);
    this.#svg = drawHeatmap(map, { width }, false);
    this.#svg.append(this.#atPointer, this.#atCursor);
    this.#layers = layersOf(this.#svg);
    this.element = this.#layers.element;
    this.paint();
  }

  paint(): void {
    withColours((colourOf) => this.#layers.paint((context) => paintCells(context, this.#map, this.#layout, colourOf)));
  }

  at(place: Place = [0, 0]): SVGElement | undefined {
    return this.#move(this.#atCursor, place);
  }

  next(from: Place | undefined, key: string): SVGElement | undefined {
    const last: Place = [this.#map.rows.length - 1, this.#map.columns.length - 1];
    if (from === undefined || key === "Home") return this.at();
    if (key === "End") return this.at(last);
    const [down, right] = STEPS[key] ?? [0, 0];
    const within = (index: number, end: number) => Math.max(0, Math.min(end, index));
    return this.at([within(from[0] + down, last[0]), within(from[1] + right, last[1])]);
  }

  under(event: MouseEvent): SVGElement | undefined {
    const box = this.#svg.getBoundingClientRect();
    const scale = this.#svg.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale - this.#layout.keyHeight];
    const { cells } = this.#layout;
    const row = cells.findIndex(([cell]) => cell !== undefined && y >= cell.y && y < cell.y + cell.height);
    const column = cells[row]?.findIndex((cell) => x >= cell.x && x < cell.x + cell.width) ?? -1;
    return column < 0 ? undefined : this.#move(this.#atPointer, [row, column]);
  }

  /** Puts a stand-in in the place of a cell; none where there is no cell. */
  #move(mark: SVGGElement, [row, column]: Place): SVGElement | undefined {
    const cell = this.#layout.cells[row]?.[column];
    if (cell === undefined) return undefined;
    const [rect, title] = mark.children;
    const place = { ...cell, y: cell.y + this.#layout.keyHeight };
    for (const [name, value] of Object.entries(place)) rect?.setAttribute(name, String(value));
    if (title !== undefined) title.textContent = cellTitle(this.#map, row, column);
    mark.dataset.row = String(row);
    mark.dataset.column = String(column);
    return mark;
  }
}

const standIn = (className: string): SVGGElement => svgElement("g", { class: className }, svgElement("rect"), svgElement("title"));

/** In the colours that elements would have; cells without a value are outlined. */
function paintCells(context: CanvasRenderingContext2D, map: Heatmap, { cells, keyHeight }: HeatmapLayout, colourOf: (css: string) => string): void {
  const colour = cellColour(map);
  context.strokeStyle = colourOf("var(--line)");
  context.setLineDash([3, 3]);
  map.rows.forEach(({ values }, row) => {
    values.forEach((value, column) => {
      const cell = cells[row]?.[column];
      if (cell === undefined) return;
      const { x, width, height } = cell;
      const y = cell.y + keyHeight;
      if (Number.isNaN(value)) context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
      else {
        context.fillStyle = colourOf(colour(value));
        context.fillRect(x, y, width, height);
      }
    });
  });
}
