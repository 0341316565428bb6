// A table drawn as coloured cells: rows in groups, every value printed in its cell, colour a second reading of the same number.
import { select } from "d3-selection";
import { type ChartSize, createChart, inkOn, percent, scaleColour, shorten, signedColour, TEXT_SWITCH } from "./svg.ts";

export interface HeatmapRow {
  readonly label: string;
  /** Rows of one group stand together under its name, if it has one. */
  readonly group: string;
  /** Fractions, unless the map says how to colour others; one per column. NaN is a missing value. */
  readonly values: readonly number[];
}

export interface Heatmap {
  /** What the numbers are, for readers who do not see the picture. */
  readonly label: string;
  readonly columns: readonly string[];
  /** Columns from this one on are summaries, set apart by a gap. */
  readonly summariesFrom: number;
  readonly rows: readonly HeatmapRow[];
  /** A value's place on the colour scale, 0 to 1; by default the value itself. */
  readonly fraction?: (value: number) => number;
  /** Fractions run from -1 to 1 and the colours have a middle. */
  readonly signed?: boolean;
  /** Cells with an outline. */
  readonly selected?: (row: number, column: number) => boolean;
  /** A value as its cell shows it; by default in percent. */
  readonly format?: (value: number) => string;
}

export interface CellPlace {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface HeatmapLayout {
  readonly height: number;
  readonly headerHeight: number;
  readonly headerTurned: boolean;
  readonly labelWidth: number;
  /** Of the key above, where cells hold no numbers; all other places count from below it. */
  readonly keyHeight: number;
  /** Rows are so low that values are told by colour and title alone. */
  readonly compact: boolean;
  /** By row, then column. */
  readonly cells: readonly (readonly CellPlace[])[];
  readonly groups: readonly { readonly name: string; readonly y: number }[];
}

const HEADER = 26;
/** Where column names would touch, they are turned, which takes as much height as they are long, up to a bound. */
const MOST_TURNED = 150;
/** Below this width a cell's number is set smaller, below the next also without its decimal. */
const NARROW_CELL = 44;
const NARROWEST_CELL = 36;
const ROW = 30;
/** Rows of a map that has more than `MANY_ROWS`, or more columns than have room for a number. */
const COMPACT_ROW = 12;
const MANY_ROWS = 60;
const LEAST_PRINTED = 22;
const NAME_ROOM = 12;
const GROUP = 26;
const GAP = 2;
const SUMMARY_GAP = 10;
/** The key of a map without numbers. */
const KEY_HEIGHT = 44;
const KEY_STEPS = 9;
const KEY_STEP = 22;
/** Of wide fonts; names are not to be cut by the picture's edge. */
const CHARACTER = 8;

/** Where everything stands. Pure. */
export function layoutHeatmap(map: Heatmap, width: number): HeatmapLayout {
  const longest = Math.max(0, ...map.rows.map((row) => row.label.length));
  const labelWidth = Math.min(Math.ceil(longest * CHARACTER) + 12, Math.floor(width * 0.36));
  const hasSummaries = map.summariesFrom < map.columns.length;
  const pitch = (width - labelWidth - (hasSummaries ? SUMMARY_GAP : 0)) / map.columns.length;
  const compact = map.rows.length > MANY_ROWS || pitch < LEAST_PRINTED;
  const keyHeight = compact && map.rows.some(({ values }) => values.some(Number.isFinite)) ? KEY_HEIGHT : 0;
  const rowHeight = compact ? COMPACT_ROW : ROW;
  const longestName = Math.max(...map.columns.map((column) => column.length * CHARACTER));
  const headerTurned = longestName > pitch;
  const headerHeight = headerTurned ? Math.min(MOST_TURNED, Math.ceil(longestName) + 20) : HEADER;
  let y = headerHeight;
  let group: string | undefined;
  const groups: { name: string; y: number }[] = [];
  const cells = map.rows.map((row) => {
    if (row.group !== group) {
      group = row.group;
      if (group !== "") {
        groups.push({ name: group, y: y + GROUP - 8 });
        y += GROUP;
      }
    }
    const top = y;
    y += rowHeight;
    return row.values.map((_, column) => ({
      x: labelWidth + column * pitch + (column >= map.summariesFrom ? SUMMARY_GAP : 0),
      y: top,
      width: Math.max(1, pitch - (compact ? 1 : GAP)),
      height: rowHeight - (compact ? 1 : GAP),
    }));
  });
  return { height: y, headerHeight, headerTurned, labelWidth, keyHeight, compact, cells, groups };
}

/**
 * Draws `map`; colours come from `--chart-*` custom properties.
 * @param withCells false for what lies above painted cells: names, key, and the outlines of selected cells
 */
export function drawHeatmap(map: Heatmap, size: ChartSize, withCells = true): SVGSVGElement {
  const layout = layoutHeatmap(map, size.width);
  const { keyHeight } = layout;
  const svg = createChart(size, layout.height + keyHeight, summarise(map), layout.compact ? "heatmap compact" : "heatmap");
  // The key stands above, where it is seen beside a map that is longer than the window.
  const part = keyHeight > 0 ? select(svg).append("g").attr("transform", `translate(0,${keyHeight})`).node() : svg;
  const root = select<SVGElement, unknown>(part ?? svg);
  const header = layout.cells[0] ?? [];
  // Names closer than this would lie on each other.
  const every = Math.max(1, Math.ceil(NAME_ROOM / Math.max(1, (header[1]?.x ?? NAME_ROOM) - (header[0]?.x ?? 0))));
  root
    .append("g")
    .attr("class", "columns")
    .selectAll("text")
    .data(map.columns)
    .join("text")
    .attr("display", (_, i) => (i % every === 0 ? null : "none"))
    .attr("transform", (_, i) => `translate(${centre(header[i])},${layout.headerHeight - 10})${layout.headerTurned ? " rotate(-90)" : ""}`)
    .attr("dy", layout.headerTurned ? "0.35em" : null)
    .attr("text-anchor", layout.headerTurned ? "start" : "middle")
    .text((column) => (layout.headerTurned ? shorten(column, Math.floor((layout.headerHeight - 20) / CHARACTER)) : column));
  root
    .append("g")
    .attr("class", "groups")
    .selectAll("text")
    .data(layout.groups)
    .join("text")
    .attr("x", 0)
    .attr("y", (group) => group.y)
    .text((group) => group.name);
  map.rows.forEach((row, index) => {
    drawRow(part ?? svg, map, row, layout, index, withCells);
  });
  if (keyHeight > 0) drawKey(svg, map, layout);
  return svg;
}

/** Where cells hold no numbers, what their colours stand for: from the least value to the largest. */
function drawKey(svg: SVGSVGElement, map: Heatmap, { labelWidth }: HeatmapLayout): void {
  const known = map.rows.flatMap(({ values }) => values.filter(Number.isFinite));
  const [low, high] = known.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
  const colour = cellColour(map);
  const steps = low < high ? KEY_STEPS : 1;
  const at = (step: number) => (steps === 1 ? low : low + ((high - low) * step) / (steps - 1));
  const key = select(svg).append("g").attr("class", "key").attr("transform", `translate(${labelWidth},4)`);
  key
    .selectAll("rect")
    .data(Array.from({ length: steps }, (_, step) => step))
    .join("rect")
    .attr("x", (step) => step * KEY_STEP)
    .attr("width", KEY_STEP)
    .attr("height", 10)
    .attr("fill", (step) => colour(at(step)));
  const middle = map.signed && low < 0 && high > 0 ? (-low / (high - low)) * (steps - 1) : (steps - 1) / 2;
  const named = steps === 1 ? [0] : [0, Math.max(2, Math.min(steps - 3, middle)), steps - 1];
  key
    .selectAll("text")
    .data(named)
    .join("text")
    .attr("x", (step) => (step + 0.5) * KEY_STEP)
    .attr("y", 24)
    .attr("text-anchor", (_, i) => (steps === 1 || i === 0 ? "start" : i === 1 ? "middle" : "end"))
    .text((step) => shownValue(map, at(step)));
}

/** The colour of a value that is there. */
export function cellColour({ fraction = (value) => value, signed = false }: Heatmap): (value: number) => string {
  const colour = signed ? signedColour : scaleColour;
  return (value) => colour(fraction(value));
}

/** What a cell means, in full. */
export function cellTitle(map: Heatmap, row: number, column: number): string {
  const { label = "", values = [] } = map.rows[row] ?? {};
  return `${label}, ${map.columns[column]}: ${shownValue(map, values[column] ?? Number.NaN)}`;
}

function drawRow(parent: SVGElement, map: Heatmap, row: HeatmapRow, layout: HeatmapLayout, index: number, withCells: boolean): void {
  const places = layout.cells[index] ?? [];
  const narrow = (places[0]?.width ?? 0) < NARROW_CELL;
  const fraction = map.fraction ?? ((value: number) => value);
  const colour = cellColour(map);
  const shadeOf = (value: number) => (Number.isNaN(value) ? "missing" : Math.abs(fraction(value)) >= TEXT_SWITCH ? "high" : "low");
  const isSelected = (column: number) => map.selected?.(index, column) ?? false;
  const group = select(parent)
    .append("g")
    .attr("class", narrow ? "row narrow" : "row");
  const characters = Math.max(1, Math.floor((layout.labelWidth - 12) / CHARACTER));
  group
    .append("text")
    .attr("class", "label")
    .attr("x", layout.labelWidth - 8)
    .attr("y", (places[0]?.y ?? 0) + (places[0]?.height ?? 0) / 2 + (layout.compact ? 3 : 5))
    .attr("text-anchor", "end")
    .text(shorten(row.label, characters));
  const cells = group
    .selectAll("g")
    .data(places.map((place, column) => ({ place, column, value: row.values[column] ?? Number.NaN })).filter(({ column }) => withCells || isSelected(column)))
    .join("g")
    .attr("class", ({ value, column }) => `cell ${shadeOf(value)}${isSelected(column) ? " selected" : ""}`)
    .attr("data-row", index)
    .attr("data-column", ({ column }) => column);
  cells
    .append("rect")
    .attr("x", ({ place }) => place.x)
    .attr("y", ({ place }) => place.y)
    .attr("width", ({ place }) => place.width)
    .attr("height", ({ place }) => place.height)
    .attr("fill", ({ value }) => (Number.isNaN(value) || !withCells ? "none" : colour(value)));
  cells.append("title").text(({ column }) => cellTitle(map, index, column));
  if (layout.compact) return;
  cells
    .append("text")
    .attr("x", ({ place }) => centre(place))
    .attr("y", ({ place }) => place.y + place.height / 2 + 5)
    .attr("text-anchor", "middle")
    .style("--cell-ink", ({ value }) => (Number.isNaN(value) ? null : inkOn(colour(value))))
    .text(({ place, value }) => (place.width < NARROWEST_CELL ? shortValue(map, value) : shownValue(map, value)));
}

const centre = (place: CellPlace | undefined): number => (place === undefined ? 0 : place.x + place.width / 2);

/** A value as text, with a dash for one that is missing. */
export const shownValue = (map: Heatmap, value: number): string => (Number.isNaN(value) ? "–" : (map.format ?? percent)(value));

/** Without the decimal of a percentage, and without the zero before the point of other numbers. */
function shortValue(map: Heatmap, value: number): string {
  if (Number.isNaN(value)) return "–";
  return map.format === undefined ? (100 * value).toFixed(0) : map.format(value).replace(/^(-?)0\./, "$1.");
}

/** One sentence: what, how much of it, and its extremes. */
function summarise(map: Heatmap): string {
  const known = map.rows.flatMap((row) => row.values.flatMap((value, i) => (Number.isNaN(value) ? [] : [{ row: row.label, column: map.columns[i], value }])));
  if (known.length === 0) return `${map.label}: no values`;
  const lowest = known.reduce((a, b) => (b.value < a.value ? b : a));
  const highest = known.reduce((a, b) => (b.value > a.value ? b : a));
  const at = (cell: (typeof known)[number]) => `${shownValue(map, cell.value)} (${cell.row}, ${cell.column})`;
  return `${map.label}: ${map.rows.length} rows by ${map.columns.length} columns, from ${at(lowest)} to ${at(highest)}`;
}
