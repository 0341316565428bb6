// Two objectives against each other: the many points on a canvas below, axes, front and chosen points in an SVG above. The
// same data drawn without a canvas is what export writes.
import { axisBottom, axisLeft } from "d3-axis";
import { scaleLinear, scaleSymlog } from "d3-scale";
import { select } from "d3-selection";
import { symbol, symbolCircle, symbolCross, symbolDiamond, symbolSquare } from "d3-shape";
import { type ChartSize, createChart, figure, shorten } from "./svg.ts";

export interface ScatterAxis {
  readonly title: string;
  /** Symmetric logarithm: keeps zero and negative values on the axis. */
  readonly logarithmic?: boolean;
  readonly inverted?: boolean;
}

/** `measured` and `predicted` points are many; the others few, named, and drawn above them. */
export type ScatterKind = "measured" | "predicted" | "front" | "baseline" | "knee" | "chosen" | "preferred";

export interface ScatterPoint {
  readonly name: string;
  readonly kind: ScatterKind;
  readonly x: number;
  readonly y: number;
  /** Left out by a filter: still there, but pale. */
  readonly pale?: boolean;
}

export interface Scatter {
  readonly label: string;
  readonly x: ScatterAxis;
  readonly y: ScatterAxis;
  readonly points: readonly ScatterPoint[];
  /** Corners of the front's staircase, in order, and of the region that it dominates. */
  readonly front: readonly (readonly [number, number])[];
  readonly region: readonly (readonly [number, number])[];
  /** A rectangle that is being chosen, in values. */
  readonly brush?: { readonly x?: readonly [number, number]; readonly y?: readonly [number, number] };
}

export interface ScatterLayout {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly top: number;
  readonly x: { (value: number): number; invert(pixel: number): number };
  readonly y: { (value: number): number; invert(pixel: number): number };
}

const MARGIN = { top: 18, right: 22, bottom: 48, left: 66 };
/** Room for the title of the axis. */
const LEAST = 190;
const TALLEST = 440;
const CHARACTER = 7;
/** Above this many, points of the front go to the canvas too. */
export const MANY_ON_FRONT = 300;
/** From below to above. */
const ORDER: readonly ScatterKind[] = ["predicted", "measured", "front", "baseline", "knee", "preferred", "chosen"];
const SHAPES = {
  measured: symbolCircle,
  predicted: symbolCircle,
  front: symbolCircle,
  baseline: symbolSquare,
  knee: symbolDiamond,
  chosen: symbolCircle,
  preferred: symbolCross,
};
const AREAS = { measured: 24, predicted: 20, front: 56, baseline: 90, knee: 190, chosen: 240, preferred: 130 };
const NAMED: readonly ScatterKind[] = ["baseline", "knee"];

/** Outline of a mark around the origin. */
export const scatterMark = (kind: ScatterKind): string => symbol(SHAPES[kind], AREAS[kind]).digits(2)() ?? "";

/** Where values lie on a chart of this width. Pure. */
export function layoutScatter(data: Scatter, width: number): ScatterLayout {
  const inner = Math.max(80, width - MARGIN.left - MARGIN.right);
  const height = Math.max(LEAST, Math.min(TALLEST, Math.round(inner * 0.72)));
  const scale = (axis: ScatterAxis, values: readonly number[], range: [number, number]) =>
    (axis.logarithmic ? scaleSymlog().constant(smallest(values)) : scaleLinear()).domain(padded(values)).range(axis.inverted ? [range[1], range[0]] : range);
  return {
    width: inner,
    height,
    left: MARGIN.left,
    top: MARGIN.top,
    x: scale(
      data.x,
      data.points.map(({ x }) => x),
      [0, inner],
    ),
    y: scale(
      data.y,
      data.points.map(({ y }) => y),
      [height, 0],
    ),
  };
}

/** From what size on a logarithmic axis spreads values. */
function smallest(values: readonly number[]): number {
  const least = values.reduce((low, value) => (value !== 0 && Number.isFinite(value) ? Math.min(low, Math.abs(value)) : low), Number.POSITIVE_INFINITY);
  return Number.isFinite(least) ? least : 1;
}

function padded(values: readonly number[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const room = 0.05 * (high - low) || Math.abs(low) * 0.05 || 0.5;
  return [low - room, high + room];
}

/** What a canvas draws of these data. */
export function canvasKinds({ points }: Scatter): readonly ScatterKind[] {
  const onFront = points.reduce((sum, { kind }) => sum + Number(kind === "front"), 0);
  return onFront > MANY_ON_FRONT ? ["measured", "predicted", "front"] : ["measured", "predicted"];
}

/** @param many whether the many points are drawn too, as they are not where a canvas shows them */
export function drawScatter(data: Scatter, size: ChartSize, many = true): SVGSVGElement {
  const layout = layoutScatter(data, size.width);
  const { width, height, x, y } = layout;
  const svg = createChart(size, height + MARGIN.top + MARGIN.bottom, summarise(data), "scatter");
  const plot = select(svg).append("g").attr("transform", `translate(${MARGIN.left},${MARGIN.top})`);
  drawAxes(svg, data, layout);
  const line = (corners: readonly (readonly [number, number])[]) =>
    corners.map(([a, b], i) => `${i === 0 ? "M" : "L"}${clamp(x(a), width)},${clamp(y(b), height)}`).join("");
  if (data.region.length > 0)
    plot
      .append("path")
      .attr("class", "region")
      .attr("d", `${line(data.region)}Z`);
  if (data.front.length > 0) plot.append("path").attr("class", "front-line").attr("d", line(data.front));
  const { brush } = data;
  if (brush !== undefined) {
    const [left, right] = (brush.x?.map(x) ?? [0, width]).sort((a, b) => a - b);
    const [top, bottom] = (brush.y?.map(y) ?? [0, height]).sort((a, b) => a - b);
    plot
      .append("rect")
      .attr("class", "brush")
      .attr("x", left ?? 0)
      .attr("y", top ?? 0)
      .attr("width", (right ?? 0) - (left ?? 0))
      .attr("height", (bottom ?? 0) - (top ?? 0));
  }
  const onCanvas = canvasKinds(data);
  const shown = data.points.filter((point) => Number.isFinite(point.x) && Number.isFinite(point.y) && (many || !onCanvas.includes(point.kind)));
  const marks = plot
    .selectAll("path.dot")
    .data(shown.toSorted((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind)))
    .join("path")
    .attr("class", ({ kind, pale }) => `dot ${kind}${pale ? " pale" : ""}`)
    .attr("transform", (point) => `translate(${x(point.x).toFixed(1)},${y(point.y).toFixed(1)})`)
    .attr("d", ({ kind }) => scatterMark(kind));
  marks.append("title").text((point) => `${point.name}: ${data.x.title} ${figure(point.x)}, ${data.y.title} ${figure(point.y)}`);
  drawNames(svg, shown, layout);
  return svg;
}

const clamp = (pixel: number, most: number): string => Math.max(0, Math.min(most, pixel)).toFixed(1);

function drawNames(svg: SVGSVGElement, points: readonly ScatterPoint[], { x, y, width }: ScatterLayout): void {
  const placed: { x: number; y: number }[] = [];
  const names = points
    .filter(({ kind }) => NAMED.includes(kind))
    .map((point) => ({ text: point.kind === "knee" ? "knee" : point.name, x: x(point.x), y: y(point.y) }));
  for (const { text, x: left, y: top } of names) {
    if (placed.some((other) => Math.abs(other.x - left) < 60 && Math.abs(other.y - top) < 14)) continue;
    placed.push({ x: left, y: top });
    const onLeft = left > width * 0.6;
    select(svg)
      .select("g")
      .append("text")
      .attr("class", "name")
      .attr("x", left + (onLeft ? -9 : 9))
      .attr("y", top - 7)
      .attr("text-anchor", onLeft ? "end" : "start")
      .text(shorten(text, Math.floor(width / 2.5 / CHARACTER)));
  }
}

function drawAxes(svg: SVGSVGElement, data: Scatter, { width, height, x, y }: ScatterLayout): void {
  const plot = select(svg).select<SVGGElement>("g");
  const format = (value: { valueOf(): number }) => figure(value.valueOf());
  type Axis = Parameters<typeof axisBottom>[0] & { ticks?(count: number): number[] };
  const ticks = (scale: unknown, room: number) => (scale as { ticks(count: number): number[] }).ticks(Math.max(2, Math.floor(room / 80)));
  plot
    .append("g")
    .attr("class", "axis")
    .attr("transform", `translate(0,${height})`)
    .call(
      axisBottom(x as unknown as Axis)
        .tickValues(ticks(x, width))
        .tickSize(-height)
        .tickPadding(8)
        .tickFormat(format as never),
    );
  plot
    .append("g")
    .attr("class", "axis")
    .call(
      axisLeft(y as unknown as Axis)
        .tickValues(ticks(y, height))
        .tickSize(-width)
        .tickPadding(8)
        .tickFormat(format as never),
    );
  const titles = plot.append("g").attr("class", "axis-titles");
  titles
    .append("text")
    .attr("x", width / 2)
    .attr("y", height + 42)
    .attr("text-anchor", "middle")
    .text(shorten(data.x.title, Math.floor(width / CHARACTER)));
  titles
    .append("text")
    .attr("transform", `translate(-52,${height / 2}) rotate(-90)`)
    .attr("text-anchor", "middle")
    .text(shorten(data.y.title, Math.floor(height / CHARACTER)));
}

function summarise({ label, points, x, y }: Scatter): string {
  const count = (kinds: readonly ScatterKind[]) => points.filter(({ kind }) => kinds.includes(kind)).length;
  const range = (values: readonly number[]) => {
    const known = values.filter(Number.isFinite);
    return known.length === 0
      ? "without values"
      : `from ${figure(known.reduce((a, b) => Math.min(a, b)))} to ${figure(known.reduce((a, b) => Math.max(a, b)))}`;
  };
  const parts = `${count(["measured", "front"])} measured, ${count(["front"])} of them on the front, ${count(["predicted"])} predicted, ${count(["baseline"])} baselines`;
  return `${label}: ${parts}; ${x.title} ${range(points.map((p) => p.x))}, ${y.title} ${range(points.map((p) => p.y))}`;
}
