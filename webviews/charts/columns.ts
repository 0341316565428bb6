// Counts by step as columns, on a square-root scale: few elements matter beside many.
import { select } from "d3-selection";
import { type ChartSize, createChart } from "./svg.ts";

export interface Columns {
  readonly label: string;
  readonly axisTitle: string;
  readonly columns: readonly {
    readonly name: string;
    readonly count: number /** Draws the column in the colour of the other sign. */;
    readonly negative?: boolean;
    /** Neither side. */
    readonly neutral?: boolean;
  }[];
}

const HEIGHT = 150;
const MARGIN = { top: 20, bottom: 44 };
const NAME_ROOM = 26;
const CHARACTER = 8;

/** Draws columns whose heights are square roots of counts. */
export function drawColumns({ label, axisTitle, columns }: Columns, size: ChartSize): SVGSVGElement {
  const total = columns.reduce((sum, { count }) => sum + count, 0);
  const most = Math.max(1, ...columns.map(({ count }) => count));
  const shares = columns.filter(({ count }) => count > 0).map(({ name, count }) => `${name}: ${share(count, total)}`);
  const svg = createChart(size, MARGIN.top + HEIGHT + MARGIN.bottom, `${label}. ${shares.length === 0 ? "no elements" : shares.join(", ")}`, "columns-chart");
  const step = size.width / Math.max(1, columns.length);
  const every = Math.ceil(NAME_ROOM / step);
  const height = (count: number) => Math.sqrt(count / most) * HEIGHT;
  const groups = select(svg)
    .selectAll("g")
    .data(columns)
    .join("g")
    .attr("class", ({ negative, neutral }) => `column-mark${negative ? " negative" : neutral ? " neutral" : ""}`)
    .attr("data-row", 0)
    .attr("data-column", (_, i) => i);
  groups.append("title").text(({ name, count }) => `${name}: ${count.toLocaleString("en")} elements, ${share(count, total)}`);
  groups
    .append("rect")
    .attr("x", (_, i) => i * step + 1)
    .attr("y", ({ count }) => MARGIN.top + HEIGHT - height(count))
    .attr("width", Math.max(0.5, step - 2))
    .attr("height", ({ count }) => height(count));
  const texts = groups.filter((_, i) => i % every === 0);
  const middle = (i: number) => (i * every + 0.5) * step;
  // Names at the ends are wider than columns of many.
  const inside = (x: number, name: string) => Math.min(Math.max(x, (name.length * CHARACTER) / 2), size.width - (name.length * CHARACTER) / 2);
  texts
    .append("text")
    .attr("x", ({ name }, i) => inside(middle(i), name))
    .attr("y", MARGIN.top + HEIGHT + 16)
    .attr("text-anchor", "middle")
    .text(({ name }) => name);
  if (step > 44)
    texts
      .append("text")
      .attr("class", "value")
      .attr("x", (_, i) => middle(i))
      .attr("y", ({ count }) => MARGIN.top + HEIGHT - height(count) - 5)
      .attr("text-anchor", "middle")
      .text(({ count }) => share(count, total));
  select(svg)
    .append("g")
    .attr("class", "axis-titles")
    .append("text")
    .attr("x", size.width / 2)
    .attr("y", MARGIN.top + HEIGHT + 38)
    .attr("text-anchor", "middle")
    .text(axisTitle);
  return svg;
}

const share = (count: number, total: number): string => `${total === 0 ? 0 : Number(((100 * count) / total).toPrecision(3))} %`;
