// Values along a count, one curve a series: training, spectra, sweeps. Colour and dash tell series apart; each ends in its name.
import { axisBottom, axisLeft } from "d3-axis";
import { scaleLinear, scaleLog } from "d3-scale";
import { select } from "d3-selection";
import { type ChartSize, createChart, figure, shorten } from "./svg.ts";

export interface Curve {
  readonly name: string;
  /** By rising x; a y that is not finite is a gap. */
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Drawn faintly behind, as the values before smoothing. */
  readonly raw?: readonly (readonly [x: number, y: number])[];
  readonly selected?: boolean;
  /** The number of its colour and dash, where these are to stay while other curves come and go. */
  readonly series?: number;
}

export interface Curves {
  readonly label: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly logarithmic?: boolean;
  /** The y axis begins at 0: what is a share of something looks like it. */
  readonly fromZero?: boolean;
  /** A place on the x axis to mark. */
  readonly mark?: number | undefined;
  readonly curves: readonly Curve[];
}

/** Colours and dashes in turn; see `.series-0` and the following in the styles. */
export const SERIES = 6;
const HEIGHT = 240;
const MARGIN = { top: 14, bottom: 44, left: 74 };
const NAME_ROOM = 150;
/** Names are bold. */
const CHARACTER = 8;
const LINE = 15;

/** Draws curves over a common x axis; names stand at their ends where there is room. */
export function drawCurves(data: Curves, size: ChartSize): SVGSVGElement {
  const names = size.width > 460 && data.curves.length > 1;
  const right = names ? Math.min(NAME_ROOM, 16 + CHARACTER * Math.max(...data.curves.map(({ name }) => name.length))) : 16;
  const width = Math.max(60, size.width - MARGIN.left - right);
  const svg = createChart(size, MARGIN.top + HEIGHT + MARGIN.bottom, summarise(data), "curves");
  const isShown = (y: number) => Number.isFinite(y) && (!data.logarithmic || y > 0);
  const shown = data.curves.flatMap(({ points, raw = [] }) => [...points, ...raw]).filter(([x, y]) => Number.isFinite(x) && isShown(y));
  const [first, last] = range(
    shown.map(([at]) => at),
    false,
  );
  const x = scaleLinear([first, last], [0, width]);
  const domain = range([...shown.map(([, y]) => y), ...(data.fromZero ? [0] : [])], data.logarithmic === true);
  const y = (data.logarithmic ? scaleLog(domain, [HEIGHT, 0]) : scaleLinear(domain, [HEIGHT, 0])).nice();
  svg.setAttribute("data-plot-width", String(width));
  const plot = select(svg).append("g").attr("transform", `translate(${MARGIN.left},${MARGIN.top})`);
  const bottom = axisBottom(x)
    .ticks(Math.max(2, Math.floor(width / 90)))
    .tickSize(-HEIGHT)
    .tickPadding(8);
  plot.append("g").attr("class", "axis").attr("transform", `translate(0,${HEIGHT})`).call(bottom);
  plot
    .append("g")
    .attr("class", "axis")
    .call(
      axisLeft(y)
        .ticks(5, data.logarithmic ? "~g" : undefined)
        .tickSize(-width)
        .tickPadding(8),
    );
  const titles = plot.append("g").attr("class", "axis-titles");
  titles
    .append("text")
    .attr("x", width / 2)
    .attr("y", HEIGHT + 38)
    .attr("text-anchor", "middle")
    .text(data.xTitle);
  titles
    .append("text")
    .attr("transform", `translate(-62,${HEIGHT / 2}) rotate(-90)`)
    .attr("text-anchor", "middle")
    .text(data.yTitle);
  if (data.mark !== undefined && data.mark >= first && data.mark <= last)
    plot.append("line").attr("class", "mark-line").attr("x1", x(data.mark)).attr("x2", x(data.mark)).attr("y1", 0).attr("y2", HEIGHT);
  const path = (points: Curve["points"]) => linePath(points.map(([a, b]) => [x(a), isShown(b) ? y(b) : Number.NaN]));
  data.curves.forEach(({ name, points, raw, series, selected }, i) => {
    const group = plot
      .append("g")
      .attr("class", `curve-group series-${(series ?? i) % SERIES}${selected ? " selected" : ""}`)
      .attr("data-row", i)
      .attr("data-column", 0);
    const last = points.findLast(([, v]) => Number.isFinite(v));
    group.append("title").text(`${name}: ${last === undefined ? "no values" : `${points.length} values, the last ${figure(last[1])} at ${last[0]}`}`);
    if (raw !== undefined) group.append("path").attr("class", "raw").attr("d", path(raw));
    // A thin or dashed line is hard to hit.
    group.append("path").attr("class", "reach").attr("d", path(points));
    group.append("path").attr("class", "curve").attr("d", path(points));
    if (points.length === 1 && last !== undefined && isShown(last[1]))
      group.append("circle").attr("class", "curve-dot").attr("r", 3).attr("cx", x(last[0])).attr("cy", y(last[1]));
  });
  if (names) drawNames(svg, data, (v) => (isShown(v) ? y(v) : HEIGHT), MARGIN.left + width + 8, right - 8);
  return svg;
}

/** The x that a place on a drawn chart stands for. */
export function curveX(svg: SVGSVGElement, data: Curves, pixel: number): number {
  const width = Number(svg.dataset.plotWidth);
  const [low, high] = range(
    data.curves.flatMap(({ points, raw = [] }) => [...points, ...raw]).map(([x]) => x),
    false,
  );
  return low + ((pixel - MARGIN.left) / width) * (high - low);
}

/** Names at the curves' ends, moved apart where they would touch, and as many as there is height for. */
function drawNames(svg: SVGSVGElement, { curves }: Curves, y: (value: number) => number, left: number, room: number): void {
  const ends = curves.map(({ name, points, series }, i) => ({
    name,
    series: series ?? i,
    at: y(points.findLast(([, v]) => Number.isFinite(v))?.[1] ?? Number.NaN),
  }));
  const shown = ends.sort((a, b) => a.at - b.at).slice(0, Math.floor(HEIGHT / LINE));
  const places = apart(shown.map(({ at }) => at + 4));
  shown.forEach(({ name, series }, i) => {
    select(svg)
      .append("text")
      .attr("class", `curve-name series-${series % SERIES}`)
      .attr("x", left)
      .attr("y", MARGIN.top + (places[i] ?? 0))
      .text(shorten(name, Math.floor(room / CHARACTER)));
  });
}

/** Rising places a line apart: pushed down where they would touch, then up again where that leads below the axis. */
function apart(wanted: readonly number[]): number[] {
  const down: number[] = [];
  for (const at of wanted) down.push(Math.max(at, (down.at(-1) ?? -LINE) + LINE));
  return down.map((at, i) => Math.min(at, HEIGHT - (down.length - 1 - i) * LINE));
}

const linePath = (points: readonly (readonly number[])[]): string => {
  let pen = "M";
  return points
    .map(([x = 0, y = 0]) => {
      if (!Number.isFinite(y)) {
        pen = "M";
        return "";
      }
      const part = `${pen}${x.toFixed(1)},${y.toFixed(1)}`;
      pen = "L";
      return part;
    })
    .join("");
};

/** Ends that differ, so that a single value stands in the middle. */
function range(values: readonly number[], logarithmic: boolean): [number, number] {
  const low = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const high = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  // Sums of one value, rounded here and there, are no range: its ticks would have sixteen digits.
  if (high - low > Number.EPSILON * 64 * Math.max(Math.abs(low), Math.abs(high))) return [low, high];
  if (!Number.isFinite(low)) return [logarithmic ? 0.1 : 0, 1];
  return logarithmic ? [low / 2, low * 2] : [low - 1, low + 1];
}

function summarise({ label, curves }: Curves): string {
  const of = ({ name, points }: Curve) => {
    const values = points.map(([, y]) => y).filter(Number.isFinite);
    const [first, last] = [values[0], values.at(-1)];
    return first === undefined || last === undefined ? `${name} without values` : `${name} from ${figure(first)} to ${figure(last)}`;
  };
  return `${label}: ${curves.map(of).join("; ") || "no curves"}`;
}
