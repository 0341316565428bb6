// Fractions as horizontal bars on a scale from 0 to a fixed end, with every value printed.
import { select } from "d3-selection";
import { type ChartSize, createChart, percent } from "./svg.ts";

export interface Bars {
  readonly label: string;
  /** NaN is a missing value. */
  readonly bars: readonly { readonly name: string; readonly value: number; readonly selected?: boolean }[];
  /** A value to mark on the scale, and what it is. */
  readonly mark?: { readonly value: number; readonly name: string };
}

const ROW = 28;
const BAR = 16;
const FOOT = 22;
const VALUE_ROOM = 64;
const CHARACTER = 8.2;

/** Draws bars from 0 to 1; colours come from `--chart-*` custom properties. */
export function drawBars({ label, bars, mark }: Bars, size: ChartSize): SVGSVGElement {
  const left = Math.ceil(Math.max(...bars.map(({ name }) => name.length)) * CHARACTER) + 12;
  const length = Math.max(20, size.width - left - VALUE_ROOM);
  const known = bars.filter(({ value }) => !Number.isNaN(value));
  const text = known.map(({ name, value }) => `${name} ${percent(value)}`).join(", ");
  const svg = createChart(size, ROW * bars.length + (mark === undefined ? 0 : FOOT), `${label}: ${text || "no values"}`, "bars");
  const rows = select(svg)
    .selectAll("g")
    .data(bars)
    .join("g")
    .attr("class", ({ selected }) => `bar-row${selected ? " selected" : ""}`)
    .attr("data-row", (_, i) => i)
    .attr("data-column", 0)
    .attr("transform", (_, i) => `translate(0,${i * ROW})`);
  rows.append("title").text(({ name, value }) => `${name}: ${Number.isNaN(value) ? "no value" : `${percent(value)} %`}`);
  rows
    .append("text")
    .attr("x", left - 8)
    .attr("y", BAR + 2)
    .attr("text-anchor", "end")
    .text(({ name }) => name);
  rows
    .append("rect")
    .attr("class", "bar")
    .attr("x", left)
    .attr("y", 5)
    .attr("height", BAR)
    .attr("width", ({ value }) => (Number.isNaN(value) ? 0 : value * length));
  rows
    .append("text")
    .attr("class", "value")
    .attr("x", ({ value }) => left + (Number.isNaN(value) ? 0 : value * length) + 6)
    .attr("y", BAR + 2)
    .text(({ value }) => (Number.isNaN(value) ? "–" : `${percent(value)} %`));
  if (mark === undefined) return svg;
  const at = left + mark.value * length;
  const bottom = ROW * bars.length;
  // Below the values, which it may cross.
  select(svg).insert("line", "g").attr("class", "mark-line").attr("x1", at).attr("x2", at).attr("y1", 0).attr("y2", bottom);
  select(svg)
    .append("text")
    .attr("class", "mark-name")
    .attr("x", at)
    .attr("y", bottom + 15)
    .attr("text-anchor", "middle")
    .text(mark.name);
  return svg;
}
